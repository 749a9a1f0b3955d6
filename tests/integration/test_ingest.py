"""Ingest into the real embedded store."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from ingest.pipeline import IngestOptions, ingest
from ingest.report import IngestReport
from ingest.sources.base import SourceError
from ingest.sources.find import find_sources
from ingest.sources.roots import Roots
from scenesearch.pictures.records import LibraryNameError
from scenesearch.pictures.thumbnails import thumbnail_path
from scenesearch.store.ask import Ask
from scenesearch.store.base import EncoderMismatch
from scenesearch.store.edge import EdgeStore
from scenesearch.store.filters import HasWords, OneOf, Range
from tests.conftest import ColourEncoder


@pytest.fixture
def roots(tmp_path: Path) -> Roots:
    return Roots(tmp_path / "library" / "sources.json")


def run(
    paths: Sequence[Path],
    store: EdgeStore,
    encoder: ColourEncoder,
    roots: Roots,
    **options: object,
) -> IngestReport:
    manifest = options.pop("manifest", None)
    assert manifest is None or isinstance(manifest, Path)
    sources = find_sources(paths, roots=roots, manifest=manifest)
    return ingest(sources, library="photos", encoder=encoder, store=store, **options)  # type: ignore[arg-type]


def ids(store: EdgeStore) -> list[str]:
    return sorted(point.image_id for point in store.scroll("photos"))


def test_every_picture_becomes_a_point_that_its_words_find(
    photos: Path, store: EdgeStore, colour_encoder: ColourEncoder, roots: Roots
) -> None:
    report = run([photos], store, colour_encoder, roots)
    assert (report.seen, report.written, report.skipped, report.rejects) == (6, 6, 0, [])
    assert ids(store) == sorted(
        ["red.jpg", "green.jpg", "blue.jpg", "trip/yellow.jpg", "trip/white.jpg", "trip/black.jpg"]
    )
    (vector,) = colour_encoder.encode_texts(["yellow"])
    (hit,) = store.search("photos", Ask(vector, limit=1))
    assert hit.image_id == "trip/yellow.jpg"
    assert hit.payload["path"] == str(photos / "trip" / "yellow.jpg")
    assert (hit.payload["width"], hit.payload["height"]) == (64, 48)
    assert (hit.payload["orientation"], hit.payload["folder"]) == ("landscape", ["trip"])


def test_second_run_encodes_nothing_and_changes_nothing(
    photos: Path, store: EdgeStore, colour_encoder: ColourEncoder, roots: Roots
) -> None:
    run([photos], store, colour_encoder, roots)
    report = run([photos], store, colour_encoder, roots)
    assert (report.seen, report.written, report.skipped) == (6, 0, 6)
    assert colour_encoder.encoded == 6


def test_changed_picture_is_replaced(
    photos: Path, store: EdgeStore, colour_encoder: ColourEncoder, roots: Roots
) -> None:
    run([photos], store, colour_encoder, roots)
    Image.new("RGB", (80, 80), (30, 60, 220)).save(photos / "red.jpg")
    report = run([photos], store, colour_encoder, roots)
    assert (report.written, report.skipped, report.encoded) == (1, 5, 1)
    assert store.retrieve("photos", ["red.jpg"])["red.jpg"].payload["orientation"] == "square"
    assert store.count("photos") == 6


def test_touched_picture_is_not_encoded_again(
    photos: Path, store: EdgeStore, colour_encoder: ColourEncoder, roots: Roots
) -> None:
    run([photos], store, colour_encoder, roots)
    os.utime(photos / "red.jpg", (1, 1))
    report = run([photos], store, colour_encoder, roots)
    assert (report.written, report.encoded, report.reused) == (1, 0, 1)
    assert run([photos], store, colour_encoder, roots).skipped == 6


def test_renamed_picture_takes_the_vector_of_its_twin(
    photos: Path, store: EdgeStore, colour_encoder: ColourEncoder, roots: Roots
) -> None:
    run([photos], store, colour_encoder, roots)
    (photos / "red.jpg").rename(photos / "crimson.jpg")
    report = run([photos], store, colour_encoder, roots)
    assert (report.written, report.encoded, report.reused) == (1, 0, 1)
    (vector,) = colour_encoder.encode_texts(["red"])
    assert [hit.image_id for hit in store.search("photos", Ask(vector, limit=1))] == ["crimson.jpg"]
    assert "red.jpg" not in ids(store)


def test_broken_pictures_are_rejects_with_their_reason_and_stop_nothing(
    photos: Path, store: EdgeStore, colour_encoder: ColourEncoder, roots: Roots
) -> None:
    whole = (photos / "red.jpg").read_bytes()
    (photos / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (photos / "note.jpg").write_text("not a picture")
    (photos / "none.png").touch()
    report = run([photos], store, colour_encoder, roots)
    assert report.written == 6
    assert {Path(reject.path).name: reject.reason.split(":")[0] for reject in report.rejects} == {
        "cut.jpg": "damaged",
        "none.png": "empty file",
        "note.jpg": "not a picture, or of an unknown format",
    }


def test_thumbnails_are_kept_by_content(
    photos: Path, store: EdgeStore, colour_encoder: ColourEncoder, roots: Roots, tmp_path: Path
) -> None:
    run([photos], store, colour_encoder, roots, thumbnails_dir=tmp_path / "thumbnails")
    for point in store.scroll("photos"):
        assert thumbnail_path(tmp_path / "thumbnails", point.payload["sha256"]).is_file()


def test_manifest_gives_captions_tags_and_typed_fields(
    photos: Path, store: EdgeStore, colour_encoder: ColourEncoder, roots: Roots
) -> None:
    manifest = photos / "about.csv"
    manifest.write_text(
        "image,caption,tags,price,camera\n"
        'red.jpg,"A red, flat square.","warm,plain",2.5,Box\n'
        "blue.jpg,Blue all over,cold,9,Box\n"
        "gone.jpg,Nothing,,1,\n"
    )
    report = run([manifest], store, colour_encoder, roots)
    assert report.written == 2
    assert [Path(reject.path).name for reject in report.rejects] == ["about.csv:4"]
    (cheap,) = store.scroll("photos", where=(Range("price", at_most=3.0),))
    assert cheap.image_id == "red.jpg"
    assert (cheap.payload["tags"], cheap.payload["camera"]) == (["warm", "plain"], "Box")
    (described,) = store.scroll("photos", where=(HasWords("captions", "blue over"),))
    assert described.image_id == "blue.jpg"


def test_manifest_after_the_pictures_describes_them_without_encoding(
    photos: Path, store: EdgeStore, colour_encoder: ColourEncoder, roots: Roots
) -> None:
    run([photos], store, colour_encoder, roots)
    manifest = photos / "about.csv"
    manifest.write_text("image,tags\nred.jpg,warm\n")
    report = run([manifest], store, colour_encoder, roots)
    assert (report.written, report.encoded) == (1, 0)
    assert store.count("photos", where=(OneOf("tags", ("warm",)),)) == 1


def test_tags_outlive_a_run_without_the_manifest(
    photos: Path, store: EdgeStore, colour_encoder: ColourEncoder, roots: Roots
) -> None:
    manifest = photos / "about.csv"
    manifest.write_text("image,tags\nred.jpg,warm\n")
    run([manifest], store, colour_encoder, roots)
    Image.new("RGB", (80, 80), (200, 0, 0)).save(photos / "red.jpg")
    assert run([photos], store, colour_encoder, roots).written == 6
    assert store.count("photos", where=(OneOf("tags", ("warm",)),)) == 1


def test_same_name_in_two_folders_stays_two_pictures(
    tmp_path: Path, store: EdgeStore, colour_encoder: ColourEncoder, roots: Roots
) -> None:
    for name, colour in (("a", "red"), ("b", "blue")):
        (tmp_path / name).mkdir()
        Image.new("RGB", (8, 8), colour).save(tmp_path / name / "1.png")
    run([tmp_path / "a"], store, colour_encoder, roots)
    run([tmp_path / "b"], store, colour_encoder, roots)
    assert ids(store) == ["1.png", "b/1.png"]


def test_folder_inside_a_known_one_doubles_nothing(
    photos: Path, store: EdgeStore, colour_encoder: ColourEncoder, roots: Roots
) -> None:
    run([photos], store, colour_encoder, roots)
    assert run([photos / "trip"], store, colour_encoder, roots).skipped == 3
    assert run([photos, photos / "trip"], store, colour_encoder, roots).seen == 6
    assert store.count("photos") == 6


def test_memory_of_roots_survives_the_process(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    for _ in range(2):
        roots = Roots(tmp_path / "sources.json")
        roots.add(tmp_path / "a")
        roots.add(tmp_path / "b")
    assert roots.image_id(tmp_path / "b" / "x.jpg") == "b/x.jpg"


def test_another_encoder_is_refused_before_any_picture(
    photos: Path, store: EdgeStore, colour_encoder: ColourEncoder, roots: Roots
) -> None:
    run([photos], store, colour_encoder, roots)
    other = ColourEncoder("other", "ffffff")
    with pytest.raises(EncoderMismatch, match="colour"):
        run([photos], store, other, roots)
    assert other.encoded == 0


def test_interrupted_run_keeps_what_was_written_and_continues(
    photos: Path, store: EdgeStore, colour_encoder: ColourEncoder, roots: Roots
) -> None:
    def interrupt(report: IngestReport) -> None:
        if report.seen >= 2:
            raise KeyboardInterrupt

    options = IngestOptions(batch_size=2)
    first = run([photos], store, colour_encoder, roots, options=options, on_progress=interrupt)
    assert first.interrupted
    assert store.count("photos") == first.written
    second = run([photos], store, colour_encoder, roots)
    assert (second.written, second.skipped) == (6 - first.written, first.written)
    assert colour_encoder.encoded == 6


def test_order_and_number_of_workers_do_not_matter(
    photos: Path, tmp_path: Path, colour_encoder: ColourEncoder
) -> None:
    found = []
    for workers in (1, 8):
        edge = EdgeStore(tmp_path / f"edge{workers}")
        options = IngestOptions(workers=workers, batch_size=4)
        run([photos], edge, colour_encoder, Roots(), options=options)
        found.append([replace(p, vector=None) for p in edge.scroll("photos")])
        edge.close()
    assert found[0] == found[1]


def test_empty_folder_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="holds no pictures"):
        find_sources([tmp_path / "empty"], roots=Roots())


def test_missing_path_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        find_sources([tmp_path / "nowhere"], roots=Roots())


def test_hidden_files_and_linked_folders_are_passed_over(photos: Path) -> None:
    shutil.copy(photos / "red.jpg", photos / ".hidden.jpg")
    (photos / ".trash").mkdir()
    shutil.copy(photos / "red.jpg", photos / ".trash" / "old.jpg")
    (photos / "loop").symlink_to(photos, target_is_directory=True)
    (source,) = find_sources([photos], roots=Roots())
    assert len(list(source.records())) == 6


def test_name_that_is_no_unicode_is_reported(photos: Path) -> None:
    shutil.copy(photos / "red.jpg", os.fsencode(photos) + b"/\xff.jpg")
    (source,) = find_sources([photos], roots=Roots())
    assert len(list(source.records())) == 6
    assert [problem.where for problem in source.problems] == [f"{photos}/\\xff.jpg"]


def test_library_names_cannot_leave_their_folder(
    photos: Path, store: EdgeStore, colour_encoder: ColourEncoder
) -> None:
    with pytest.raises(LibraryNameError, match="cannot name a library"):
        ingest(
            find_sources([photos], roots=Roots()),
            library="../x",
            encoder=colour_encoder,
            store=store,
        )
