"""What training fetches from a hub on this machine is checked as `models pull` checks it."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import file_download

from scenesearch.encoder.hub import HubError, fetch_weights
from tests.fake_hub import SHA, FakeHub, serving

WEIGHTS = "someone/weights"
FILES = {
    "config.json": b"{}",
    "model.safetensors": b"0123456789" * 100,
    "text_tower/tokenizer.json": b'{"version": "1.0"}',
    "onnx/vision_model.onnx": b"not wanted",
    "pytorch_model.bin": b"not wanted either",
}
WANTED = {"config.json", "model.safetensors", "text_tower/tokenizer.json"}


def point_at(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    constants = "huggingface_hub.constants"
    monkeypatch.setattr(f"{constants}.ENDPOINT", url)
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(f"{constants}.HUGGINGFACE_CO_URL_TEMPLATE", template)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    constants = "huggingface_hub.constants"
    monkeypatch.setattr(f"{constants}.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(f"{constants}.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(f"{constants}.HF_HUB_ETAG_TIMEOUT", 2)
    monkeypatch.setattr(f"{constants}.HF_HUB_DOWNLOAD_TIMEOUT", 2)
    with serving(FakeHub({WEIGHTS: dict(FILES)})) as served:
        point_at(monkeypatch, served.url)
        yield served


def files_below(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("revision", [None, "main", SHA])
def test_weights_are_fetched_at_a_commit(hub: FakeHub, revision: str | None) -> None:
    folder = fetch_weights(WEIGHTS, revision)
    assert folder.name == SHA
    assert files_below(folder) == {name: FILES[name] for name in WANTED}


@pytest.mark.parametrize("hash_of", ["large files", "small files"])
def test_a_forged_file_is_refused_and_loaded_again_by_the_next(hub: FakeHub, hash_of: str) -> None:
    if hash_of == "small files":
        hub.small = {"config.json", "model.safetensors"}
    hub.forged = {"model.safetensors"}
    with pytest.raises(HubError, match=r"model\.safetensors does not have the hash"):
        fetch_weights(WEIGHTS)
    hub.forged = set()
    assert files_below(fetch_weights(WEIGHTS)).keys() == WANTED


def test_a_file_of_another_size_is_refused(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.longer = {"config.json"}
    with pytest.raises(HubError, match=r"config\.json came with 3 bytes, the hub declares 2"):
        fetch_weights(WEIGHTS)


def test_a_cut_download_is_one_sentence_and_the_next_one_is_whole(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_download, "time", SimpleNamespace(sleep=lambda _: None))
    hub.cut = {"model.safetensors"}
    with pytest.raises(HubError, match=WEIGHTS) as caught:
        fetch_weights(WEIGHTS)
    assert "\n" not in str(caught.value)
    hub.cut = set()
    assert files_below(fetch_weights(WEIGHTS)).keys() == WANTED


def test_a_revision_that_is_not_there_is_said(hub: FakeHub) -> None:
    with pytest.raises(HubError, match=f"{WEIGHTS} has no revision v9"):
        fetch_weights(WEIGHTS, "v9")


def test_without_the_hub_the_cache_serves_a_pinned_commit(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    online = fetch_weights(WEIGHTS, SHA)
    point_at(monkeypatch, "http://127.0.0.1:9")
    assert fetch_weights(WEIGHTS, SHA) == online
    blob = (online / "model.safetensors").resolve()
    assert blob.name == hashlib.sha256(FILES["model.safetensors"]).hexdigest()
    blob.write_bytes(bytes(1000))
    with pytest.raises(HubError, match=r"model\.safetensors is damaged; delete it"):
        fetch_weights(WEIGHTS, SHA)


def test_without_the_hub_and_without_a_cache_it_is_one_sentence(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    point_at(monkeypatch, "http://127.0.0.1:9")
    with pytest.raises(HubError, match=f"{WEIGHTS} cannot be had from the hub"):
        fetch_weights(WEIGHTS, SHA)


def test_training_fetches_its_base_so(hub: FakeHub) -> None:
    pytest.importorskip("torch")
    from training.towers import load_towers

    hub.forged = {"model.safetensors"}
    with pytest.raises(HubError, match=r"model\.safetensors does not have the hash"):
        load_towers(WEIGHTS, revision=SHA)
