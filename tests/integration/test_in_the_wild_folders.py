"""Folders as people have them: what is left out, copies, libraries that move, disks that are away.

Each table has the input on the left and what is right on the right.
"""

import io
import json
import os
import shlex
import shutil
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ingest.relocate import RelocateError, RelocateReport, relocate
from ingest.sources.base import SourceError
from ingest.sources.excludes import DEFAULTS, FILE_NAME, Excludes
from ingest.sources.find import find_sources
from ingest.sources.roots import Roots
from scenesearch.home.presence import _looks, presence
from scenesearch.home.rejects import Rejects
from scenesearch.home.roots import read_roots
from scenesearch.search.searcher import Searcher
from scenesearch.store.base import Point
from scenesearch.store.edge import EdgeStore
from tests.cli import run_here
from tests.integration.test_ingest_moves import World
from tests.tiny_encoder import write_tiny_encoder


@pytest.fixture(autouse=True)
def looked_at_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer of a moment ago about a folder: tests move them quickly."""
    _looks.clear()
    monkeypatch.setattr("scenesearch.home.presence._FRESH_S", 0.0)


# --- what is left out ------------------------------------------------------------------------

# What network storage, systems, programs and cameras keep: a picture in it is not the user's.
NOT_THE_USERS = [
    "#snapshot/GMT-2024.01.01/a.jpg",
    "#recycle/a.jpg",
    "@Recycle/a.jpg",
    "@Recently-Snapshot/2024/a.jpg",
    "@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg",
    "trip/@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg",
    "~snapshot/hourly.0/a.jpg",
    "RECYCLER/S-1-5-21/Dc1.jpg",
    "$RECYCLE.BIN/S-1-5-21/$R1.jpg",
    "System Volume Information/a.jpg",
    ".Trashes/501/a.jpg",
    ".Trash-1000/files/a.jpg",
    ".Spotlight-V100/a.jpg",
    ".AppleDouble/a.jpg",
    ".@__thumb/s100a.jpg",
    ".thumbnails/large/a.jpg",
    ".picasaoriginals/a.jpg",
    "._a.jpg",
    "__MACOSX/trip/a.jpg",
    "Photos Library.photoslibrary/resources/derivatives/A/a.jpeg",
    "Photos Library.photoslibrary/resources/renders/A/a.jpeg",
    "Photos Library.photoslibrary/scopes/cloudsharing/a.jpg",
    "Photos Library.photoslibrary/Thumbnails/a.jpg",
    "iPhoto Library/Thumbnails/2009/a.jpg",
    "iPhoto Library.photolibrary/Previews/2009/a.jpg",
    "Aperture.aplibrary/Thumbnails/a.jpg",
    "cat/Lightroom Catalog Previews.lrdata/0/a.jpg",
    "cat/Smart Previews.lrdata/a.jpg",
    "session/CaptureOne/Cache/Thumbnails/a.jpg",
    "home/mipmaps-0a1b.d/3/7.jpg",
    "immich/thumbs/7c9e6679-7425-40de-944b-e07fc1f90ae7/1f/a3/1fa3-preview.jpeg",
    "photoprism/storage/cache/thumbnails/1/2/3/a_720x720_fit.jpg",
    "cloud/appdata_oc12/preview/1/2/7/256-256.jpg",
    "cloud/anna/files_trashbin/files/a.jpg",
    "card/PRIVATE/M4ROOT/THMBNL/C0001T01.JPG",
    "card/AVCHDTN/a.jpg",
    "card/DCIM/GX010001.THM",
]

# What looks like it and is the user's own.
THE_USERS = [
    "a.jpg",
    "snapshot/a.jpg",
    "recycle/a.jpg",
    "thumbs/a.jpg",
    "previews/a.jpg",
    "@home/a.jpg",
    "Photos Library.photoslibrary/originals/A/a.jpeg",
    "Photos Library.photoslibrary/Masters/2016/a.jpg",
    "iPhoto Library/Originals/2009/a.jpg",
    "iPhoto Library.photolibrary/Masters/2009/a.jpg",
    "cloud/anna/files/a.jpg",
    "card/DCIM/100MSDCF/DSC1.JPG",
]


def put(folder: Path, *names: str) -> Path:
    """Pictures of these names in the folder, each with a content of its own."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (number % 256, number // 256, 90)).save(path, "JPEG")
    return folder


def found(folder: Path, *patterns: str) -> list[str]:
    """What a folder gives, relative to it; members of archives as `a.tar!b.jpg`."""
    sources = find_sources([folder], roots=Roots(), excludes=Excludes(patterns))
    records = (str(record.original) for source in sources for record in source.records())
    return sorted(path.removeprefix(f"{folder}/") for path in records)


@pytest.mark.parametrize("name", NOT_THE_USERS)
def test_what_storage_and_programs_keep_is_left_out(tmp_path: Path, name: str) -> None:
    put(tmp_path, "own.jpg", name)
    assert found(tmp_path) == ["own.jpg"]


def test_folders_that_only_look_like_it_are_the_users(tmp_path: Path) -> None:
    assert found(put(tmp_path, *THE_USERS)) == sorted(THE_USERS)


def test_a_photos_library_that_is_given_itself_gives_its_originals(tmp_path: Path) -> None:
    library = tmp_path / "Photos Library.photoslibrary"
    put(library, "originals/A/a.jpeg", "resources/derivatives/A/a.jpeg")
    assert found(library) == ["originals/A/a.jpeg"]


def test_a_folder_that_is_given_itself_is_wanted_whatever_its_name(tmp_path: Path) -> None:
    assert found(put(tmp_path / "#recycle", "a.jpg")) == ["a.jpg"]


FILES = ["a.jpg", "a.png", "b/a.jpg", "b/c/a.jpg", "b/c/a.png", "c/a.jpg", ".d/a.jpg"]


@pytest.mark.parametrize(
    ("patterns", "left"),
    [
        ([], ["a.jpg", "a.png", "b/a.jpg", "b/c/a.jpg", "b/c/a.png", "c/a.jpg"]),
        (["*.png"], ["a.jpg", "b/a.jpg", "b/c/a.jpg", "c/a.jpg"]),
        (["c/"], ["a.jpg", "a.png", "b/a.jpg"]),
        (["/c/"], ["a.jpg", "a.png", "b/a.jpg", "b/c/a.jpg", "b/c/a.png"]),
        (["b/*"], ["a.jpg", "a.png", "c/a.jpg"]),
        (["b/**"], ["a.jpg", "a.png", "c/a.jpg"]),
        (["*/"], ["a.jpg", "a.png"]),
        (["b/**/*.png"], ["a.jpg", "a.png", "b/a.jpg", "b/c/a.jpg", "c/a.jpg"]),
        (["*", "!b/", "!a.jpg"], ["a.jpg", "b/a.jpg"]),
        (["*.jpg", "!/a.jpg"], ["a.jpg", "a.png", "b/c/a.png"]),
        (["!.d/", "b/", "c/"], [".d/a.jpg", "a.jpg", "a.png"]),
        (["?.[jp]*"], None),
    ],
)
def test_patterns_mean_what_they_mean_to_git(
    tmp_path: Path, patterns: list[str], left: list[str] | None
) -> None:
    put(tmp_path, *FILES)
    if left is None:
        with pytest.raises(SourceError, match="holds no pictures"):
            found(tmp_path, *patterns)
    else:
        assert found(tmp_path, *patterns) == left


def test_files_of_patterns_count_for_their_folder_and_the_inner_one_wins(tmp_path: Path) -> None:
    put(tmp_path, *FILES)
    (tmp_path / FILE_NAME).write_text("# no drafts\n*.png\nc/\n")
    (tmp_path / "b" / FILE_NAME).write_text("/a.jpg\n!c/\n!*.png\n")
    assert found(tmp_path) == ["a.jpg", "b/c/a.jpg", "b/c/a.png"]
    assert found(tmp_path, "b/c/", "!*.png") == ["a.jpg", "a.png"]


def test_names_and_patterns_of_other_unicode_forms_find_each_other(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "cafe\u0301/a.jpg")
    assert found(tmp_path, "caf\u00e9/") == ["a.jpg"]


def test_an_archive_counts_as_a_folder_of_its_members(tmp_path: Path) -> None:
    put(tmp_path / "in", "a.jpg", "@eaDir/b.jpg", "raw/c.jpg", ".d/e.jpg")
    (tmp_path / "out").mkdir()
    with tarfile.open(tmp_path / "out" / "x.tar", "w") as archive:
        archive.add(tmp_path / "in", arcname="in")
    assert found(tmp_path / "out") == ["x.tar!in/a.jpg", "x.tar!in/raw/c.jpg"]
    assert found(tmp_path / "out", "raw/") == ["x.tar!in/a.jpg"]
    assert found(tmp_path / "out", "/x.tar/in/a.jpg") == ["x.tar!in/raw/c.jpg"]
    source = find_sources([tmp_path / "out" / "x.tar"], roots=Roots(), excludes=Excludes(("raw/",)))
    assert [str(r.original).rpartition("!")[2] for r in source[0].records()] == ["in/a.jpg"]


def test_a_rendered_picture_that_is_left_out_does_not_hide_its_raw_file(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "a.nef", "b.png")
    assert found(tmp_path) == ["a.jpg", "b.png"]
    assert found(tmp_path, "*.jpg") == ["a.nef", "b.png"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("[z-a].jpg", "this is no pattern of a .gitignore file"),
        ("!", "this is no pattern of a .gitignore file"),
        ("*a*a*a*a", "a pattern with more than 3 wildcards * is not used"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(tmp_path: Path, line: str, reason: str) -> None:
    put(tmp_path, "a.jpg", "a.png")
    (tmp_path / FILE_NAME).write_text(f"*.png\n{line}\n")
    (source,) = find_sources([tmp_path], roots=Roots())
    assert [record.image_id for record in source.records()] == ["a.jpg"]
    (problem,) = source.problems
    assert (problem.where, problem.reason) == (f"{tmp_path / FILE_NAME}:2", reason)


@pytest.mark.parametrize("pattern", ["!", "", "# a remark", "[z-a]"])
def test_a_pattern_of_the_command_that_cannot_be_read_ends_it(pattern: str) -> None:
    with pytest.raises(SourceError, match="is no pattern"):
        Excludes((pattern,))


def test_patterns_for_pictures_that_are_named_are_refused(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg")
    with pytest.raises(SourceError, match="--exclude is for folders"):
        find_sources([tmp_path / "a.jpg"], roots=Roots(), excludes=Excludes(("*.png",)))


@pytest.fixture
def world(tmp_path: Path, store: EdgeStore) -> World:
    photos = tmp_path / "photos"
    photos.mkdir()
    return World(photos, store, tmp_path / "own")


def names(world: World) -> list[str]:
    return sorted(point.image_id for point in world.store.scroll("photos", payload=()))


def test_pictures_that_a_new_pattern_leaves_out_go_with_prune_alone(world: World) -> None:
    put(world.photos, "a.jpg", "b/c.jpg")
    world.run()
    (world.photos / FILE_NAME).write_text("b/\n")
    world.run()
    assert names(world) == ["a.jpg", "b/c.jpg"]
    assert world.run(prune=True, dry_run=True).removals == ["b/c.jpg"]
    assert names(world) == ["a.jpg", "b/c.jpg"]
    assert world.run(prune=True).removals == ["b/c.jpg"]
    assert names(world) == ["a.jpg"]
    assert (world.photos / "b/c.jpg").exists()


def test_prune_keeps_a_folder_that_was_given_itself(world: World) -> None:
    put(world.photos, "a.jpg", "#recycle/b.jpg")
    world.run()
    world.run(world.photos / "#recycle")
    assert world.run(prune=True).removals == []
    assert names(world) == ["#recycle/b.jpg", "a.jpg"]


# --- many copies -----------------------------------------------------------------------------


def link(photos: Path, first: int, end: int) -> None:
    """Hard links to one picture, numbered."""
    original = photos / "0.jpg"
    if not original.exists():
        Image.new("RGB", (16, 16), (220, 30, 30)).save(original)
    for number in range(max(first, 1), end):
        os.link(original, photos / f"{number}.jpg")


@pytest.fixture
def points_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every point that a look through a collection gives, for the number of them."""
    read: list[str] = []
    scroll = EdgeStore.scroll

    def counted(store: EdgeStore, *args: Any, **options: Any) -> Iterator[Point]:
        for point in scroll(store, *args, **options):
            read.append(point.image_id)
            yield point

    monkeypatch.setattr(EdgeStore, "scroll", counted)
    return read


@pytest.mark.slow
def test_copies_are_decoded_once_and_work_grows_with_their_number(
    world: World, points_read: list[str]
) -> None:
    link(world.photos, 0, 600)
    opened = []
    preprocess = world.encoder.preprocess
    world.encoder.preprocess = lambda image: opened.append(1) or preprocess(image)  # type: ignore
    report = world.run()
    assert (report.written, report.encoded, report.reused) == (600, 1, 599)
    assert len(opened) <= 2  # workers that began before the first was done

    link(world.photos, 600, 1200)
    points_read.clear()
    report = world.run()
    assert (report.written, report.skipped, report.encoded) == (600, 600, 0)
    assert len(points_read) <= 2 * 1200

    for number in range(1, 1200):
        (world.photos / f"{number}.jpg").unlink()
    points_read.clear()
    assert world.run(prune=True).removed == 1199
    assert len(points_read) <= 4 * 1200
    assert names(world) == ["0.jpg"]


def test_a_copy_has_its_own_names_and_descriptions(world: World) -> None:
    link(world.photos, 0, 3)
    rdf = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
    (world.photos / "1.jpg.xmp").write_text(
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r:RDF xmlns:r="{rdf}">'
        '<r:Description xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4"/>'
        "</r:RDF></x:xmpmeta>"
    )
    world.run()
    points = {point.image_id: point.payload for point in world.store.scroll("photos")}
    assert [points[f"{n}.jpg"].get("rating") for n in range(3)] == [None, 4, None]
    assert len({point["phash"] for point in points.values() if "phash" in point}) <= 1
    assert all(point["path"].endswith(name) for name, point in points.items())


# --- a library that moves ----------------------------------------------------------------------


def repoint(world: World, old: Path, new: Path, **options: Any) -> RelocateReport:
    with closing(Rejects(world.own / "rejects.sqlite")) as rejects:
        return relocate(
            "photos",
            str(old),
            str(new),
            store=world.store,
            library_dir=world.own,
            rejects=rejects,
            **options,
        )


def paths(world: World) -> dict[str, str]:
    points = world.store.scroll("photos", payload=("path",))
    return {point.image_id: str(point.payload["path"]) for point in points}


@pytest.fixture
def moved(world: World) -> tuple[Path, Path]:
    """A library with descriptions, marks and a reject whose folder has moved: old and new place."""
    put(world.photos, "a.jpg", "b/c.jpg")
    (world.photos / "broken.jpg").write_bytes(b"no picture")
    world.describe(a="sea")
    world.run()
    world.mark(a="a boat")
    new = world.photos.with_name("new")
    world.photos.rename(new)
    return world.photos, new


def test_a_library_is_re_pointed_without_encoding(world: World, moved: tuple[Path, Path]) -> None:
    old, new = moved
    encoded = world.encoder.encoded
    assert repoint(world, old, new, dry_run=True).pictures == 2
    assert paths(world) == {"a.jpg": f"{old}/a.jpg", "b/c.jpg": f"{old}/b/c.jpg"}

    report = repoint(world, old, new)
    assert (report.compared, report.same, report.pictures, report.joined) == (2, 2, 2, 0)
    assert paths(world) == {"a.jpg": f"{new}/a.jpg", "b/c.jpg": f"{new}/b/c.jpg"}
    assert world.tags() == {"a.jpg": ["sea"]}
    assert world.marks() == {"a.jpg": "a boat"}
    again = world.run(new, prune=True)
    assert (again.skipped, again.written, again.removed, again.rejected) == (2, 0, 0, 1)
    assert again.rejects[0].tries == 1  # its row has moved, and it was not opened again
    assert world.encoder.encoded == encoded
    with pytest.raises(RelocateError, match="re-pointed already"):
        repoint(world, old, new)


def test_a_library_that_has_both_folders_gets_one_entry_a_picture(
    world: World, moved: tuple[Path, Path]
) -> None:
    old, new = moved
    put(new, "d/new.jpg")
    world.run(new)
    assert len(names(world)) == 5
    report = repoint(world, old, new)
    assert (report.pictures, report.joined) == (2, 2)
    assert paths(world) == {
        "new/a.jpg": f"{new}/a.jpg",
        "new/b/c.jpg": f"{new}/b/c.jpg",
        "new/d/new.jpg": f"{new}/d/new.jpg",
    }
    assert world.tags() == {"new/a.jpg": ["sea"]}
    assert world.marks() == {"new/a.jpg": "a boat"}
    assert world.run(new).skipped == 3


def test_a_folder_with_other_pictures_is_refused(world: World, moved: tuple[Path, Path]) -> None:
    old, _ = moved
    other = put(old.with_name("other"), "x.jpg", "y.jpg", "a.jpg")
    before = paths(world)
    with pytest.raises(RelocateError, match="does not hold the library's pictures: of 2"):
        repoint(world, old, other)
    assert paths(world) == before


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("nowhere", "new", "was not filled from"),
        ("photos/b", "new", "which stays where it is"),
        ("photos", "missing", "is no folder"),
        ("photos", "photos/b", "is no folder"),
        ("photos", ".", "one inside the other"),
        ("s3://bucket/a", "new", "only folders"),
    ],
)
def test_what_cannot_be_re_pointed_is_said(
    world: World, moved: tuple[Path, Path], old: str, new: str, sentence: str
) -> None:
    top = moved[0].parent
    with pytest.raises(RelocateError, match=sentence):
        relocate(
            "photos",
            old if "://" in old else str(top / old),
            str(top / new),
            store=world.store,
            library_dir=world.own,
        )


def test_a_stopped_command_is_finished_by_the_same(
    world: World, moved: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = moved

    def killed(*args: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(EdgeStore, "flush", killed)
        with pytest.raises(KeyboardInterrupt):
            repoint(world, old, new)
    repoint(world, old, new)
    assert paths(world) == {"a.jpg": f"{new}/a.jpg", "b/c.jpg": f"{new}/b/c.jpg"}
    assert list(read_roots(world.own / "sources.json")) == [str(new)]


@pytest.mark.slow
def test_an_ingest_of_the_new_place_offers_it(tmp_path: Path) -> None:
    environment = os.environ | {
        "SCENESEARCH_DATA_DIR": str(tmp_path / "data"),
        "SCENESEARCH_ENCODER": str(write_tiny_encoder(tmp_path / "tiny")),
    }

    def ran(*words: object) -> tuple[int, str, str]:
        found = run_here(*words, environment=environment)
        return found.returncode, found.stdout.strip(), found.stderr.strip()

    old, new = put(tmp_path / "old", "a.jpg", "b.jpg"), tmp_path / "new place"
    assert ran("ingest", old, "-l", "m")[0] == 0
    old.rename(new)
    status, _, err = ran("ingest", new, "-l", "m")
    command = f"scenesearch library relocate {old} '{new}' m"
    assert status == 2
    assert f"holds the pictures of {old}, which is not there: `{command}`" in err
    status, out, _ = ran(*shlex.split(command)[1:])
    assert (status, out.splitlines()[-1]) == (0, "m: 2 re-pointed")
    assert "2 skipped" in ran("ingest", new, "-l", "m")[1]
    # An empty mount point stands for a disk that is away, too.
    new.rename(old)
    new.mkdir()
    assert f"relocate '{new}' {old} m`" in ran("ingest", old, "-l", "m")[2]
    assert "2 written" in ran("ingest", old, "-l", "m", "--as-copy")[1]


# --- a disk that is away -----------------------------------------------------------------------


def eject_to(folder: Path, elsewhere: Path) -> None:
    folder.rename(elsewhere)


@pytest.mark.parametrize(
    ("left", "removed"),
    [
        (None, []),  # udisks removes the mount point
        ([], []),  # it stays, empty
        ([".DS_Store"], []),  # and a system has written to it
        (["d.jpg"], ["B/a.jpg", "B/b.jpg"]),  # the folder is there: these files were deleted
        (["about.txt"], ["B/a.jpg", "B/b.jpg"]),
    ],
)
def test_prune_takes_no_whole_folder_for_deleted(
    world: World, tmp_path: Path, left: list[str] | None, removed: list[str]
) -> None:
    put(world.photos, "A/a.jpg", "B/a.jpg", "B/b.jpg")
    world.run()
    eject_to(world.photos / "B", tmp_path / "away")
    for name in left or ():
        put(world.photos / "B", name)
    if left is not None:
        (world.photos / "B").mkdir(exist_ok=True)
    report = world.run(prune=True)
    assert report.removals == removed
    state = "is not there" if left is None else "is empty"
    sentence = f"{world.photos / 'B'} {state}: its 2 pictures stay in the library"
    assert [line.partition(";")[0] for line in report.kept] == ([] if removed else [sentence])
    asked = []

    def confirm(folder: Path, count: int) -> bool:
        asked.append((folder, count))
        return True

    report = world.run(prune=True, confirm_absent=confirm)
    assert asked == ([] if removed else [(world.photos / "B", 2)])
    assert report.removals == ([] if removed else ["B/a.jpg", "B/b.jpg"])


@pytest.mark.parametrize(
    ("away", "offline"),
    [
        ([], []),
        (["photos"], ["a.jpg", "sub/b.jpg"]),
        (["disk"], ["disk/c.jpg"]),
        (["photos", "disk"], ["a.jpg", "disk/c.jpg", "sub/b.jpg"]),
    ],
)
@pytest.mark.parametrize("left", ["nothing", "an empty folder", "a hidden file"])
def test_pictures_of_a_disk_that_is_away_are_offline_and_come_back(
    world: World, tmp_path: Path, away: list[str], offline: list[str], left: str
) -> None:
    disk = put(tmp_path / "disk", "c.jpg")
    world.run(put(world.photos, "a.jpg", "sub/b.jpg"))
    world.run(disk)
    for name in away:
        eject_to(tmp_path / name, tmp_path / f"away-{name}")
        if left != "nothing":
            (tmp_path / name).mkdir()
        if left == "a hidden file":
            (tmp_path / name / ".DS_Store").touch()

    def answer(text: str) -> dict[str, bool]:
        sources = world.own / "sources.json"
        searcher = Searcher(
            world.encoder, world.store, "photos", presence=lambda library: presence(sources)
        )
        hits = searcher.search(text, k=10, min_relevance=0, collapse=False).hits
        return {hit.image_id: hit.offline for hit in sorted(hits, key=lambda hit: hit.image_id)}

    everything = ["a.jpg", "disk/c.jpg", "sub/b.jpg"]
    assert answer("blue") == {name: name in offline for name in everything}
    assert list(answer("blue is:offline")) == offline
    assert list(answer("is:offline")) == offline
    assert list(answer("-is:offline")) == [name for name in everything if name not in offline]
    for name in away:
        shutil.rmtree(tmp_path / name, ignore_errors=True)
        eject_to(tmp_path / f"away-{name}", tmp_path / name)
    assert answer("is:offline") == {}
    assert world.run(prune=True).removals == []


def test_a_network_disk_that_hangs_is_waited_for_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.run(put(world.photos, "a.jpg"))
    looks, answers = [], threading.Event()

    def hang(folder: str) -> bool:
        looks.append(folder)
        answers.wait(30)
        return True

    monkeypatch.setattr("scenesearch.home.presence.holds_something", hang)
    for _ in range(3):
        assert presence(world.own / "sources.json").away == (str(world.photos),)
    assert looks == [str(world.photos)]
    answers.set()
    _looks.clear()


@pytest.mark.parametrize(
    ("options", "answer", "removed"),
    [
        ([], None, 0),  # no terminal: nobody confirms
        (["--remove-absent"], None, 2),
        ([], "n\n", 0),
        ([], "y\n", 2),
    ],
)
def test_absence_is_confirmed_by_an_option_or_at_the_terminal(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    answer: str | None,
    removed: int,
) -> None:
    monkeypatch.setenv("SCENESEARCH_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("SCENESEARCH_ENCODER", str(write_tiny_encoder(tmp_path / "tiny")))
    photos = put(tmp_path / "photos", "a.jpg", "disk/b.jpg", "disk/c.jpg")
    run_here("ingest", photos, "-l", "m", environment=os.environ)
    shutil.rmtree(photos / "disk")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO((answer or "").encode())))
    monkeypatch.setattr("sys.stdin.isatty", lambda: answer is not None)
    ran = run_here("ingest", photos, "-l", "m", "--prune", *options, environment=os.environ)
    assert ran.returncode == 0, ran.stderr
    assert f"{removed} removed" in ran.stdout
    assert ("Remove its 2 pictures from the library? [y/N]" in ran.stderr) == bool(answer)


def test_the_command_leaves_out_and_says_what_it_leaves_out(tmp_path: Path) -> None:
    environment = os.environ | {
        "SCENESEARCH_DATA_DIR": str(tmp_path / "data"),
        "SCENESEARCH_ENCODER": str(write_tiny_encoder(tmp_path / "tiny")),
    }
    photos = put(tmp_path / "photos", "a.jpg", "b.png", "@eaDir/c.jpg")
    more = ["--exclude", "*.png", "--exclude", "!@eaDir/"]
    ran = run_here("ingest", photos, *more, environment=environment)
    assert "2 seen, 2 written" in ran.stdout
    shown = run_here("ingest", "--show-excludes", environment=environment)
    lines = shown.stdout.splitlines()
    assert [line for group in DEFAULTS.values() for line in group] == [
        line for line in lines if not line.startswith("# ")
    ]
    # What is printed is a file of patterns that leaves out the same.
    (tmp_path / "copy" / FILE_NAME).parent.mkdir()
    (tmp_path / "copy" / FILE_NAME).write_text(shown.stdout)
    put(tmp_path / "copy", *NOT_THE_USERS, *THE_USERS)
    (source,) = find_sources([tmp_path / "copy"], roots=Roots())
    assert source.problems == ()
    assert source.count == len(THE_USERS)


# --- the doctor's advice is followed -------------------------------------------------------------


class Installed:
    """A library `m` in an installation of its own, and its command line."""

    def __init__(self, top: Path) -> None:
        self.environment = os.environ | {
            "SCENESEARCH_DATA_DIR": str(top / "data"),
            "SCENESEARCH_ENCODER": str(write_tiny_encoder(top / "tiny")),
        }

    def __call__(self, *words: object) -> str:
        ran = run_here(*words, environment=self.environment)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.strip()

    def advice(self, check: str) -> list[str]:
        """The commands that the doctor names for a finding."""
        ran = run_here("library", "doctor", "m", "--json", environment=self.environment)
        findings = json.loads(ran.stdout)["findings"]
        (mend,) = [one["mend"] for one in findings if one["check"] == check]
        return [f"scenesearch {part}" for part in mend.split("scenesearch ")[1:]]

    def findings(self) -> list[str]:
        ran = run_here("library", "doctor", "m", "--json", environment=self.environment)
        return [one["check"] for one in json.loads(ran.stdout)["findings"]]


def words_of(advice: str, until: str) -> list[str]:
    return shlex.split(advice.partition(until)[0])[1:]


@pytest.fixture
def installed(tmp_path: Path) -> Installed:
    return Installed(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("left", ["nothing", "an empty folder"])
def test_advice_for_a_folder_that_is_away(installed: Installed, tmp_path: Path, left: str) -> None:
    old, new = put(tmp_path / "my old", "a.jpg", "b.jpg"), tmp_path / "new"
    installed("ingest", old, "-l", "m")
    old.rename(new)
    if left != "nothing":
        old.mkdir()
    relocation, removal = installed.advice("folders")
    installed(*words_of(relocation.replace(" NEW ", f" {new} "), " where"))
    assert installed.findings() == []
    # The other half of the advice, for a folder that is deleted.
    shutil.rmtree(new)
    if left != "nothing":
        new.mkdir()
    relocation, removal = installed.advice("folders")
    assert "2 removed" in installed(*shlex.split(removal)[1:])
    assert run_here("library", "doctor", "m", environment=installed.environment).returncode == 0


@pytest.mark.slow
def test_advice_for_pictures_that_are_missing_changed_or_new(
    installed: Installed, tmp_path: Path
) -> None:
    photos = put(tmp_path / "photos", "a.jpg", "b.jpg", "sub/c.jpg", "sub/d.jpg")
    away = put(tmp_path / "disk", "e.jpg")
    installed("ingest", photos, away, "-l", "m")
    away.rename(tmp_path / "ejected")
    (photos / "a.jpg").unlink()
    shutil.rmtree(photos / "sub")
    Image.new("RGB", (20, 20), "red").save(photos / "b.jpg")
    (changed,) = installed.advice("changed")
    assert "1 written" in installed(*shlex.split(changed)[1:])
    (missing,) = installed.advice("missing")
    command = words_of(missing, " removes")
    assert "1 removed" in installed(*command)
    (missing,) = installed.advice("missing")
    assert "2 removed" in installed(*words_of(missing, " removes"), "--remove-absent")
    put(photos, "f.jpg")
    assert "missing" not in installed.findings()
    (tmp_path / "ejected").rename(away)
    (new,) = installed.advice("folders")
    assert "1 written" in installed(*words_of(new, ", or"))
    assert installed.findings() == []


def test_copies_that_are_opened_out_of_order_are_encoded(world: World) -> None:
    link(world.photos, 0, 64)
    preprocess, first = world.encoder.preprocess, threading.Event()

    def late(image: Image.Image) -> Any:
        if not first.is_set():  # whoever comes first is overtaken
            first.set()
            time.sleep(0.05)
        return preprocess(image)

    world.encoder.preprocess = late  # type: ignore[method-assign]
    assert world.run(workers=4, batch_size=1).written == 64
