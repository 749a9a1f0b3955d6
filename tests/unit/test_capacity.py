"""The arithmetic of `scenesearch library plan`, against numbers worked out on paper."""

import pytest
from typer.testing import CliRunner

from scenesearch.commands.app import app
from scenesearch.commands.capacity import Device, encoding, plan, tier

LITE = Device("2 cores", 2, 50)


def test_a_core_decodes_and_encodes_each_picture_in_turn() -> None:
    # 1/50 s in the tower, .0045 + 12 x .0034 = .0453 s around it: .0653 s; two cores: 30.63/s
    found = encoding(1_000_000, LITE, megapixels=12)
    assert found.images_per_s == pytest.approx(2 / 0.0653)
    assert found.hours == pytest.approx(1_000_000 * 0.0653 / 2 / 3600)  # 9.07 h
    assert found.feeding_cores == 0


def test_an_accelerator_needs_cores_that_decode_for_it() -> None:
    # 1500/s x .0453 s = 67.95 cores; 1e9 / 1500 / 3600 = 185.2 h
    found = encoding(1_000_000_000, Device("GPU", 0, 1500), megapixels=12)
    assert (found.images_per_s, found.feeding_cores) == (1500, 68)
    assert found.hours == pytest.approx(185.185, abs=0.001)


@pytest.mark.parametrize(
    ("copies", "memory", "disk"),
    [
        # Every one: graph 16 x 2 x 4 x 1.1 = 141, payload indexes 560, words 170, ids 30; on
        # disk the float32 vectors (4 x 512 = 2048) and the payload (400) too.
        ("float32", 2048 + 901, 2048 + 901 + 400),
        ("int8", 512 + 901, 2048 + 512 + 901 + 400),
        ("4-bit", 256 + 901, 2048 + 256 + 901 + 400),
        ("on disk", 30, 2048 + 901 + 400),
    ],
)
def test_bytes_of_a_picture_by_what_is_kept_in_memory(copies: str, memory: int, disk: int) -> None:
    found = tier(copies, 1_000_000, 512, 400)  # type: ignore[arg-type]
    assert (found.memory_bytes, found.disk_bytes) == (1_000_000 * memory, 1_000_000 * disk)


def test_a_million_pictures_are_for_one_embedded_store() -> None:
    best = plan(1_000_000, 384, [LITE]).cluster
    assert (best.home, best.copies, best.nodes, best.shards, best.replicas) == (
        *("embedded", "int8"),
        *(1, 1, 1),
    )
    assert best.memory_bytes == 1_000_000 * (384 + 560 + 170 + 30)  # no graph
    assert best.graph_core_hours == 0


def test_nodes_are_as_many_as_the_quantised_copies_need() -> None:
    # 4-bit: 192 + 141 + 560 + 170 + 30 = 1093 bytes; two replicas of 1e8: 218.6 GB;
    # 70 % of 64 GB are 44.8 GB: 4.88, so 5 nodes, each with one shard of 20 million in two copies.
    best = plan(100_000_000, 384, [LITE]).cluster
    assert (best.home, best.copies, best.nodes, best.shards) == ("server", "4-bit", 5, 5)
    assert best.memory_bytes == 43_720_000_000
    assert best.disk_bytes == 2 * 100_000_000 * (1536 + 1093 + 400) // 5
    assert best.graph_core_hours == pytest.approx(1e8 * 2 * 0.001 / 3600)


def test_replicas_take_three_nodes_however_small_they_are() -> None:
    # int8: 384 + 901 = 1285 bytes x 2e6 x 2 = 5.1 GB would fit one node
    best = plan(2_000_000, 384, [LITE]).cluster
    assert (best.copies, best.nodes, best.shards) == ("int8", 3, 3)
    assert plan(2_000_000, 384, [LITE], replicas=1).cluster.nodes == 1
    assert plan(2_000_000, 384, [LITE], replicas=4).cluster.nodes == 4


def test_shards_are_a_multiple_of_the_nodes_with_twenty_million_pictures_at_most() -> None:
    # 90 million over 3 nodes of plenty of memory: 30 million a node, so two shards each
    best = plan(90_000_000, 384, [LITE], node_memory_bytes=10**12).cluster
    assert (best.nodes, best.shards) == (3, 6)


def test_larger_payloads_cost_disk_and_no_memory() -> None:
    small, large = (plan(10**6, 384, [LITE], payload_bytes=size) for size in (400, 1400))
    assert large.cluster.disk_bytes - small.cluster.disk_bytes == 10**9
    assert large.cluster.memory_bytes == small.cluster.memory_bytes


@pytest.mark.parametrize("option", ["--megapixels", "--payload", "--node-memory", "--replicas"])
def test_nonsense_is_refused(option: str) -> None:
    ran = CliRunner().invoke(app, ["library", "plan", "--images", "1000", option, "0"])
    assert (ran.exit_code, option in ran.stderr) == (2, True)
    assert CliRunner().invoke(app, ["library", "plan", "--images", "0"]).exit_code == 2


def test_json_says_what_the_plan_found() -> None:
    document = plan(1_000_000, 512, [LITE]).to_json()
    assert document["encoding"][0]["hours"] == 9.07
    assert [row["copies"] for row in document["tiers"]] == ["float32", "int8", "4-bit", "on disk"]
    assert document["recommended"]["home"] == "embedded"
    assert document["thumbnail_bytes"] == 18_000_000_000
