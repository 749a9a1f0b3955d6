"""Pictures that are moved, renamed, exchanged and copied between runs: the library follows."""

import os
import shutil
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ingest import moves
from ingest.journal import Journal, journal_file
from ingest.moves import Arrivals, OldPlaces
from ingest.pipeline import IngestOptions, ingest
from ingest.report import IngestReport
from ingest.shards import Shard
from ingest.sources.find import find_sources
from ingest.sources.roots import Roots
from scenesearch.home.feedback import Feedback
from scenesearch.home.rejects import Rejects
from scenesearch.home.saved_collections import read_collections, save_request
from scenesearch.store.ask import Ask
from scenesearch.store.base import Point, StoreUnavailable
from scenesearch.store.edge import EdgeStore
from tests.cli import run_here
from tests.conftest import COLOURS, ColourEncoder
from tests.integration.test_ingest_resume import draw


class World:
    """A folder of photographs, a library in a folder of its own, runs of ingest."""

    def __init__(self, photos: Path, store: EdgeStore, own: Path) -> None:
        self.photos, self.store, self.own = photos, store, own
        self.encoder = ColourEncoder()

    def run(
        self,
        *paths: Path,
        manifest: Path | None = None,
        on_progress: Callable[[IngestReport], None] | None = None,
        **options: Any,
    ) -> IngestReport:
        roots = Roots(self.own / "sources.json")
        with closing(Rejects(self.own / "rejects.sqlite")) as rejects:
            return ingest(
                find_sources(paths or [self.photos], roots=roots, manifest=manifest),
                library="photos",
                encoder=self.encoder,
                store=self.store,
                library_dir=self.own,
                thumbnails_dir=self.own / "thumbnails",
                rejects=rejects,
                options=IngestOptions(**options),
                on_progress=on_progress,
            )

    def describe(self, **tags: str) -> None:
        """Tags of pictures, as a manifest of an earlier run says them."""
        manifest = self.own.parent / "about.csv"
        rows = [f"{name}.jpg,{tag}" for name, tag in tags.items()]
        manifest.write_text("\n".join(["image,tags", *rows]) + "\n")
        self.run(self.photos, manifest=manifest)

    def mark(self, **texts: str) -> None:
        with closing(Feedback(self.own / "feedback.sqlite")) as feedback:
            for name, text in texts.items():
                feedback.mark(text, [f"{name}.jpg"], right=True)

    def marks(self) -> dict[str, str]:
        with closing(Feedback(self.own / "feedback.sqlite")) as feedback:
            return {mark.image_id: mark.text for mark in feedback.all()}

    def tags(self) -> dict[str, list[str]]:
        points = self.store.scroll("photos")
        return {p.image_id: p.payload["tags"] for p in points if "tags" in p.payload}

    def ids(self) -> list[str]:
        return sorted(point.image_id for point in self.store.scroll("photos"))

    def thumbnails(self) -> int:
        return len(list((self.own / "thumbnails").glob("??/*.jpg")))


@pytest.fixture
def world(photos: Path, store: EdgeStore, tmp_path: Path) -> Iterator[World]:
    yield World(photos, store, tmp_path / "libraries" / "photos")


def counts(report: IngestReport) -> tuple[int, int, int, int]:
    return report.written, report.encoded, report.moved, report.removed


def test_a_renamed_picture_is_one_point_with_all_that_was_said_of_it(world: World) -> None:
    world.run()
    world.describe(red="boat")
    world.mark(red="a red boat", blue="blue")
    for text in ("like:red.jpg boat", 'taken:2020 like:"red.jpg"^2', "like:blue.jpg", "red.jpg"):
        save_request(world.own / "saved-requests.json", text)
    (world.photos / "red.jpg").rename(world.photos / "trip" / "crimson.jpg")
    report = world.run()
    assert counts(report) == (1, 0, 1, 0)
    assert "red.jpg" not in world.ids() and len(world.ids()) == 6
    assert world.tags() == {"trip/crimson.jpg": ["boat"]}
    assert world.marks() == {"trip/crimson.jpg": "a red boat", "blue.jpg": "blue"}
    assert [one.request for one in read_collections(world.own / "saved-requests.json")] == [
        "red.jpg",
        "like:blue.jpg",
        "like:trip/crimson.jpg^2 taken:2020",
        "boat + like:trip/crimson.jpg",
    ]
    assert counts(world.run()) == (0, 0, 0, 0)


def test_what_this_runs_manifest_says_wins_over_what_an_earlier_one_said(world: World) -> None:
    world.run()
    world.describe(red="boat")
    (world.photos / "red.jpg").rename(world.photos / "crimson.jpg")
    manifest = world.own.parent / "new.csv"
    manifest.write_text("image,tags\ncrimson.jpg,ship\n")
    world.run(world.photos, manifest=manifest)
    assert world.tags() == {"crimson.jpg": ["ship"]}
    assert "red.jpg" not in world.ids()


def test_copies_stay_two_while_both_are_there(world: World) -> None:
    world.run()
    shutil.copy2(world.photos / "red.jpg", world.photos / "copy.jpg")
    assert counts(world.run()) == (1, 0, 0, 0)
    assert len(world.ids()) == 7


def test_of_several_copies_the_one_that_moved_is_replaced(world: World) -> None:
    shutil.copy2(world.photos / "red.jpg", world.photos / "copy.jpg")
    world.run()
    world.describe(red="first", copy="second")
    (world.photos / "copy.jpg").rename(world.photos / "trip" / "copy.jpg")
    assert counts(world.run()) == (1, 0, 1, 0)
    assert world.tags() == {"red.jpg": ["first"], "trip/copy.jpg": ["second"]}
    (world.photos / "red.jpg").rename(world.photos / "a.jpg")
    (world.photos / "trip" / "copy.jpg").rename(world.photos / "copy.jpg")
    assert counts(world.run()) == (2, 0, 2, 0)
    assert world.tags() == {"a.jpg": ["first"], "copy.jpg": ["second"]}


def test_two_copies_of_which_one_is_left_under_a_new_name_become_one(world: World) -> None:
    shutil.copy2(world.photos / "red.jpg", world.photos / "copy.jpg")
    world.run()
    world.describe(red="first", copy="second")
    (world.photos / "red.jpg").unlink()
    (world.photos / "copy.jpg").rename(world.photos / "only.jpg")
    world.run()
    assert {"red.jpg", "copy.jpg"}.isdisjoint(world.ids())
    assert sorted(world.tags()["only.jpg"]) == ["first", "second"]


def exchange_by_renaming(one: Path, other: Path) -> None:
    one.rename(one.with_name("between"))
    other.rename(one)
    one.with_name("between").rename(other)


def exchange_by_writing(one: Path, other: Path) -> None:
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


@pytest.mark.parametrize("exchange", [exchange_by_renaming, exchange_by_writing])
@pytest.mark.parametrize("batch", [1, 8])
def test_two_pictures_that_exchange_their_names_exchange_what_was_said(
    world: World, exchange: Callable[[Path, Path], None], batch: int
) -> None:
    world.run()
    world.describe(red="warm", blue="cold")
    world.mark(red="fire", blue="water")
    exchange(world.photos / "red.jpg", world.photos / "blue.jpg")
    assert counts(world.run(batch_size=batch)) == (2, 0, 2, 0)
    assert world.tags() == {"red.jpg": ["cold"], "blue.jpg": ["warm"]}
    assert world.marks() == {"red.jpg": "water", "blue.jpg": "fire"}
    (vector,) = world.encoder.encode_texts(["red"])
    assert world.store.search("photos", Ask(vector, limit=1))[0].image_id == "blue.jpg"


def test_a_chain_of_renames_moves_each_and_encodes_none(world: World, tmp_path: Path) -> None:
    """Every picture takes the name of the next, as numbers do that are counted anew."""
    count = 150  # more than are written at once
    folder = tmp_path / "numbered"
    folder.mkdir()
    rng = np.random.default_rng(1)
    for number in range(count):
        pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03}.png")
    manifest = tmp_path / "about.csv"
    rows = [f"{number:03}.png,was{number}" for number in range(count)]
    manifest.write_text("\n".join(["image,tags", *rows]) + "\n")
    world.run(folder, manifest=manifest)
    world.own.joinpath("feedback.sqlite").unlink(missing_ok=True)
    with closing(Feedback(world.own / "feedback.sqlite")) as feedback:
        for number in range(count):
            feedback.mark(f"was{number}", [f"{number:03}.png"], right=True)
    for number in reversed(range(count)):
        (folder / f"{number:03}.png").rename(folder / f"{number + 1:03}.png")
    encoded = world.encoder.encoded
    report = world.run(folder, batch_size=4, workers=2)
    assert (report.moved, world.encoder.encoded) == (count, encoded)
    expected = {f"{number + 1:03}.png": f"was{number}" for number in range(count)}
    assert world.tags() == {name: [tag] for name, tag in expected.items()}
    assert world.marks() == expected


def test_another_picture_under_the_old_name_takes_nothing_of_what_was_said(world: World) -> None:
    world.run()
    world.describe(red="boat")
    world.mark(red="boat")
    (world.photos / "red.jpg").rename(world.photos / "moved.jpg")
    Image.new("RGB", (30, 30), (1, 2, 3)).save(world.photos / "red.jpg")
    report = world.run()
    assert counts(report) == (2, 1, 1, 0)
    assert world.tags() == {"moved.jpg": ["boat"]}
    assert world.marks() == {"moved.jpg": "boat"}


def test_an_edited_picture_keeps_what_was_said_though_a_copy_of_it_was_made_before(
    world: World,
) -> None:
    world.run()
    world.describe(red="boat")
    shutil.copyfile(world.photos / "red.jpg", world.photos / "red-before.jpg")
    Image.new("RGB", (30, 30), (200, 2, 3)).save(world.photos / "red.jpg")
    report = world.run()
    assert counts(report) == (2, 1, 0, 0)
    assert world.tags() == {"red.jpg": ["boat"]}


def test_a_picture_moved_over_another_leaves_one(world: World) -> None:
    world.run()
    world.describe(red="warm")
    (world.photos / "red.jpg").replace(world.photos / "blue.jpg")
    assert counts(world.run()) == (1, 0, 1, 0)
    assert world.tags() == {"blue.jpg": ["warm"]}
    assert len(world.ids()) == 5
    assert world.thumbnails() == 5


def test_pictures_move_from_one_folder_of_the_library_to_another(
    world: World, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    Image.new("RGB", (30, 30), (1, 2, 3)).save(other / "first.jpg")
    world.run(world.photos)
    world.run(other)
    world.describe(red="boat")
    (world.photos / "red.jpg").rename(other / "red.jpg")
    assert counts(world.run(other)) == (1, 0, 1, 0)  # only the new place was given
    assert world.tags() == {"other/red.jpg": ["boat"]}
    assert "red.jpg" not in world.ids()


def test_a_folder_that_is_missing_or_empty_is_a_disk_that_is_away(
    world: World, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(world.photos, other)
    world.run(world.photos)
    world.photos.rename(tmp_path / "away")
    assert counts(world.run(other)) == (6, 0, 0, 0)
    world.photos.mkdir()
    (other / "red.jpg").rename(other / "crimson.jpg")
    assert counts(world.run(other)) == (1, 0, 1, 0)
    assert len(world.ids()) == 12


def test_a_folder_emptied_by_moving_is_left_one_emptied_otherwise_may_be_a_disk(
    world: World,
) -> None:
    world.run()
    (world.photos / "sorted").mkdir()
    for path in (world.photos / "trip").iterdir():
        path.rename(world.photos / "sorted" / path.name)
    assert counts(world.run()) == (3, 0, 3, 0)
    for path in (world.photos / "sorted").iterdir():
        shutil.copyfile(path, world.photos / "trip" / path.name)
        path.unlink()
    assert counts(world.run()) == (3, 0, 0, 0)


def test_only_pictures_below_the_librarys_folders_are_looked_for(
    world: World, tmp_path: Path
) -> None:
    """A library that came from elsewhere names any path."""
    world.run()
    (red,) = world.store.retrieve("photos", ["red.jpg"], with_vectors=True).values()
    forged = dict(red.payload) | {"path": str(tmp_path / "nowhere" / "x.jpg")}
    world.store.upsert("photos", [Point("forged.jpg", red.vector, forged)])
    shutil.copyfile(world.photos / "red.jpg", world.photos / "copy.jpg")
    assert counts(world.run()) == (1, 0, 0, 0)
    assert "forged.jpg" in world.ids()


def test_pictures_move_into_an_archive_and_out_of_it(world: World) -> None:
    world.run()
    world.describe(red="boat")
    red = world.photos / "red.jpg"
    with tarfile.open(world.photos / "shard.tar", "w") as archive:
        archive.add(red, "red.jpg")
    data = red.read_bytes()
    red.unlink()
    assert counts(world.run()) == (1, 0, 1, 0)
    assert world.tags() == {"shard.tar/red.jpg": ["boat"]}
    (world.photos / "shard.tar").rename(world.photos / "other.tar")
    assert counts(world.run()) == (1, 0, 1, 0)
    (world.photos / "other.tar").unlink()
    red.write_bytes(data)
    assert counts(world.run()) == (1, 0, 1, 0)
    assert world.tags() == {"red.jpg": ["boat"]}


def test_thousands_that_move_are_looked_up_together_and_none_is_encoded(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "pictures"
    draw(folder / "a", 300)
    world.run(folder)
    asked = 0

    def counting(name: str) -> None:
        real = getattr(EdgeStore, name)

        def call(self: EdgeStore, *args: Any, **options: Any) -> Any:
            nonlocal asked
            asked += 1
            return real(self, *args, **options)

        monkeypatch.setattr(EdgeStore, name, call)

    for name in ("scroll", "retrieve", "delete", "upsert"):
        counting(name)
    encoded = world.encoder.encoded
    (folder / "a").rename(folder / "b")
    report = world.run(folder, batch_size=16)
    assert (report.moved, report.written) == (300, 300)
    assert world.encoder.encoded == encoded
    assert len(world.ids()) == 300
    # A look-up and a write for each batch of pictures, and a few for hundreds at the end.
    assert asked < 300 / 4


def test_many_copies_of_one_picture_are_not_read_for_each_batch(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(60):
        shutil.copyfile(world.photos / "red.jpg", world.photos / f"copy{number}.jpg")
    world.run(batch_size=4)
    read = 0
    scroll = EdgeStore.scroll

    def counting(self: EdgeStore, *args: Any, **options: Any) -> Iterator[Point]:
        nonlocal read
        for point in scroll(self, *args, **options):
            read += 1
            yield point

    monkeypatch.setattr(EdgeStore, "scroll", counting)
    for number in range(60):
        (world.photos / f"copy{number}.jpg").rename(world.photos / f"other{number}.jpg")
    assert world.run(batch_size=4).moved == 60
    assert read < 5 * 60


def test_copies_in_their_thousands_are_compared_by_looking_up_not_with_each_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(40):
        os.link(world.photos / "red.jpg", world.photos / f"copy{number}.jpg")
    world.run()
    compared = 0
    folded = moves.folded

    def counting(path: str) -> str:
        nonlocal compared
        compared += 1
        return folded(path)

    monkeypatch.setattr(moves, "folded", counting)
    for number in range(40):
        os.link(world.photos / "red.jpg", world.photos / f"more{number}.jpg")
    assert counts(world.run()) == (40, 0, 0, 0)
    assert compared <= 2 * 81


class Killed(BaseException):
    """As sure an end as a kill, at a place that is chosen."""


KILLED_AT = [
    "delete",
    *(
        pytest.param(place, marks=pytest.mark.slow)
        for place in ("upsert", "note", "rename", "reached", "follow", "clear_moves", "tied")
    ),
]


@pytest.mark.parametrize("place", KILLED_AT)
@pytest.mark.parametrize("late", [False, True])
def test_a_run_killed_at_any_step_is_finished_by_the_next(
    world: World, monkeypatch: pytest.MonkeyPatch, place: str, late: bool
) -> None:
    """A chain, an exchange and a move, with all that is said of them."""
    world.run()
    world.describe(red="r", green="g", blue="b", new="n")
    world.mark(red="r", green="g", blue="b")
    (world.photos / "green.jpg").rename(world.photos / "last.jpg")
    (world.photos / "red.jpg").rename(world.photos / "green.jpg")
    exchange_by_renaming(world.photos / "blue.jpg", world.photos / "trip" / "white.jpg")
    owner: Any = EdgeStore if place in ("upsert", "delete") else Journal
    if place == "follow":
        owner, place = Feedback, "rename"
    real = getattr(owner, place)

    def dying(self: Any, *args: Any, **options: Any) -> Any:
        if late:
            real(self, *args, **options)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(owner, place, dying)
        with pytest.raises(Killed):
            world.run(batch_size=1, workers=1)
    world.run()
    assert world.tags() == {"last.jpg": ["g"], "green.jpg": ["r"], "trip/white.jpg": ["b"]}
    assert world.marks() == {"last.jpg": "g", "green.jpg": "r", "trip/white.jpg": "b"}
    assert world.ids() == sorted(
        ["last.jpg", "green.jpg", "blue.jpg"]
        + [f"trip/{n}.jpg" for n in ("black", "white", "yellow")]
    )
    assert counts(world.run()) == (0, 0, 0, 0)
    assert world.thumbnails() == 6


def test_a_run_that_was_stopped_moves_nothing_and_the_next_one_all(world: World) -> None:
    world.run()
    (world.photos / "trip").rename(world.photos / "journey")

    def stop(report: IngestReport) -> None:
        if report.seen >= 2:
            raise KeyboardInterrupt

    assert world.run(on_progress=stop, batch_size=1).interrupted
    report = world.run()
    assert not report.interrupted
    assert len(world.ids()) == 6


@pytest.mark.parametrize("ticks", [1, 2, 3])
def test_a_run_may_be_cancelled_while_it_moves(world: World, ticks: int) -> None:
    world.run()
    world.describe(red="boat")
    (world.photos / "red.jpg").rename(world.photos / "crimson.jpg")
    left = ticks

    def stop(report: IngestReport) -> None:
        nonlocal left
        left -= report.written > 0
        if left < 0:  # the first is told of the pictures written, the others of the move
            raise KeyboardInterrupt

    assert world.run(on_progress=stop, batch_size=1, workers=1).interrupted
    assert counts(world.run()) == (0, 0, 1, 0)
    assert world.tags() == {"crimson.jpg": ["boat"]}


def test_a_failing_store_keeps_the_journal_for_the_next_run(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.run()
    (world.photos / "red.jpg").rename(world.photos / "crimson.jpg")

    def away(self: EdgeStore, *args: object) -> None:
        raise StoreUnavailable("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(EdgeStore, "delete", away)
        with pytest.raises(StoreUnavailable):
            world.run()
    assert counts(world.run()) == (0, 0, 1, 0)
    assert "red.jpg" not in world.ids()


def test_moves_between_shards_take_the_old_point_along(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    draw(folder / "a", 40)
    shards = [Shard(number, 3) for number in (1, 2, 3)]
    for shard in shards:
        world.run(folder, shard=shard)
    (folder / "a").rename(folder / "b")
    encoded = world.encoder.encoded
    assert sum(world.run(folder, shard=shard).moved for shard in shards) == 40
    assert world.encoder.encoded == encoded
    assert len(world.ids()) == 40


def test_a_reject_that_was_moved_is_a_reject_in_one_place(world: World) -> None:
    (world.photos / "broken.jpg").write_text("no picture")
    world.run()
    (world.photos / "broken.jpg").rename(world.photos / "trip" / "broken.jpg")
    world.run()
    with closing(Rejects(world.own / "rejects.sqlite")) as rejects:
        assert [row.path for row in rejects.all()] == [str(world.photos / "trip" / "broken.jpg")]


def test_a_copy_takes_over_what_was_said_of_a_picture_that_is_pruned(world: World) -> None:
    shutil.copyfile(world.photos / "red.jpg", world.photos / "copy.jpg")
    world.run()
    world.describe(red="boat")
    world.mark(red="boat")
    (world.photos / "red.jpg").unlink()
    assert counts(world.run()) == (0, 0, 0, 0)
    report = world.run(prune=True)
    assert (report.removals, report.moved) == (["red.jpg"], 0)
    assert world.tags() == {"copy.jpg": ["boat"]}
    assert world.marks() == {"copy.jpg": "boat"}


def test_a_name_that_changed_in_case_alone_is_a_move_where_the_disk_finds_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a disk is made of a folder in which both names lead to one file, and one is listed."""
    folder = tmp_path / "photos" / "trip"
    folder.mkdir(parents=True)
    (folder / "a.jpg").write_bytes(b"picture")
    old, new = str(folder / "A.JPG"), str(folder / "a.jpg")
    places = OldPlaces([str(tmp_path / "photos")])
    came = Arrivals([{"path": new, "size_bytes": 7, "modified": "now"}])
    os.link(new, old)
    assert not places.is_left(old, came, {})  # both names are listed: two names of a file
    iterdir = Path.iterdir

    def listing(self: Path) -> Iterator[Path]:
        return (path for path in iterdir(self) if path.name != "A.JPG")

    monkeypatch.setattr(Path, "iterdir", listing)
    assert OldPlaces([str(tmp_path / "photos")]).is_left(old, came, {})
    assert not OldPlaces([str(tmp_path / "photos")]).is_left(
        old, Arrivals([{"path": str(folder / "b")}]), {}
    )


@pytest.mark.parametrize("sizes", [(1, 3), (3, 1)])
def test_the_journal_is_empty_after_a_run(world: World, sizes: Sequence[int]) -> None:
    for number in range(sizes[0]):
        Image.new("RGB", (8, 8), (number, 1, 1)).save(world.photos / f"{number}.png")
    world.run()
    for number in range(sizes[0]):
        (world.photos / f"{number}.png").rename(world.photos / f"x{number}.png")
    world.run()
    with closing(Journal(journal_file(world.own))) as journal:
        assert (journal.step, list(journal.arrivals()), list(journal.loose())) == (0, [], [])


def test_the_command_counts_moves_in_text_and_json(photos: Path, tmp_path: Path) -> None:
    from tests.tiny_encoder import write_tiny_encoder

    environment = os.environ | {
        "SCENESEARCH_DATA_DIR": str(tmp_path / "data"),
        "SCENESEARCH_ENCODER": str(write_tiny_encoder(tmp_path / "tiny")),
    }

    def command(*words: str) -> str:
        ran = run_here(*words, environment=environment)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    command("ingest", str(photos))
    (photos / "red.jpg").rename(photos / "crimson.jpg")
    assert '"moved": 1' in command("ingest", str(photos), "--json")
    (photos / "crimson.jpg").rename(photos / "red.jpg")
    assert "0 removed, 1 moved" in command("ingest", str(photos))
    assert set(COLOURS) == {path.stem for path in photos.rglob("*.jpg")}


def test_an_address_is_asked_only_below_those_that_the_run_was_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def gone(path: str) -> bool:
        asked.append(path)
        return True

    monkeypatch.setattr("ingest.moves.is_gone", gone)
    places = OldPlaces(["s3://bucket/a", "s3://bucket/b"], asked=["s3://bucket/a/"])
    assert places.is_left("s3://bucket/a/1.jpg", Arrivals([]), {})
    assert not places.is_left("s3://bucket/b/1.jpg", Arrivals([]), {})
    assert not OldPlaces(["s3://bucket/a"]).is_left("s3://bucket/a/1.jpg", Arrivals([]), {})
    assert asked == ["s3://bucket/a/1.jpg"]
