"""What pictures and manifests say becomes searchable, and each outlives the other's silence."""

import json
import os
from pathlib import Path

import pytest
from PIL import ExifTags, Image
from typer.testing import CliRunner

from ingest.pipeline import ingest
from ingest.report import IngestReport
from ingest.sources.find import find_sources
from ingest.sources.roots import Roots
from scenesearch.commands.app import app
from scenesearch.pictures.records import GeoPoint
from scenesearch.store.description import descriptions_of
from scenesearch.store.edge import EdgeStore
from scenesearch.store.fields import STANDARD_FIELDS, by_name
from scenesearch.store.filters import HasWords, Near, OneOf, Range
from tests.conftest import ColourEncoder
from tests.unit.test_duplicates import scene

Base = ExifTags.Base


@pytest.fixture
def roots(tmp_path: Path) -> Roots:
    return Roots(tmp_path / "library" / "sources.json")


def run(path: Path, store: EdgeStore, encoder: ColourEncoder, roots: Roots) -> IngestReport:
    return ingest(find_sources([path], roots=roots), library="photos", encoder=encoder, store=store)


def xmp(*tags: str, title: str = "", rating: int = 0, description: str = "") -> bytes:
    items = "".join(f"<rdf:li>{tag}</rdf:li>" for tag in tags)

    def text(name: str, value: str) -> str:
        return f"<dc:{name}><rdf:Alt><rdf:li>{value}</rdf:li></rdf:Alt></dc:{name}>"

    return (
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" '
        'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/">'
        f'<rdf:Description xmp:Rating="{rating}"><dc:subject><rdf:Bag>{items}</rdf:Bag>'
        f"</dc:subject>{text('title', title)}{text('description', description)}"
        "</rdf:Description></rdf:RDF>"
    ).encode()


def shot(path: Path, packet: bytes = b"", *, seed: int = 0, camera: str = "Box") -> Path:
    exif = Image.Exif()
    exif[Base.Model] = camera
    details = exif.get_ifd(ExifTags.IFD.Exif)
    details[Base.ISOSpeedRatings], details[Base.LensModel] = 800, "Glass 35"
    details[Base.DateTimeOriginal] = "2021:07:03 18:30:05"
    details[Base.OffsetTimeOriginal] = "+02:00"
    path.parent.mkdir(parents=True, exist_ok=True)
    scene(seed).save(path, "JPEG", exif=exif, xmp=packet)
    return path


def test_what_the_file_says_is_found_by_filters(
    tmp_path: Path, store: EdgeStore, colour_encoder: ColourEncoder, roots: Roots
) -> None:
    packet = xmp("sea", title="Harbour at dusk", rating=4, description="Two boats come home.")
    shot(tmp_path / "p" / "a.jpg", packet)
    shot(tmp_path / "p" / "b.jpg", seed=1)
    run(tmp_path / "p", store, colour_encoder, roots)
    for where in (
        OneOf("tags", ("sea",)),
        HasWords("title", "harbour"),
        HasWords("captions", "boats"),
        Range("rating", at_least=3),
    ):
        assert [point.image_id for point in store.scroll("photos", where=(where,))] == ["a.jpg"]
    for where in (Range("iso", at_least=400), OneOf("lens", ("Glass 35",))):
        assert store.count("photos", where=(where,)) == 2
    assert store.retrieve("photos", ["a.jpg"])["a.jpg"].payload["taken"].startswith("2021-07-03T")


def test_a_file_beside_the_picture_says_what_embedded_xmp_would_and_is_followed(
    tmp_path: Path, store: EdgeStore, colour_encoder: ColourEncoder, roots: Roots
) -> None:
    folder = tmp_path / "p"
    shot(folder / "a.jpg", xmp("sea", title="Own title", rating=2, description="Own words."))

    def said() -> dict[str, object]:
        payload = store.retrieve("photos", ["a.jpg"])["a.jpg"].payload
        return {name: payload.get(name) for name in ("title", "tags", "rating", "captions")}

    def again() -> tuple[int, int]:
        report = run(folder, store, colour_encoder, roots)
        return report.written, report.skipped

    own = {"title": "Own title", "tags": ["sea"], "rating": 2.0, "captions": ["Own words."]}
    assert again() == (1, 0)
    assert said() == own
    (folder / "a.xmp").write_bytes(xmp("Boat", title="Beside", rating=5))
    assert again() == (1, 0)
    assert said() == own | {"title": "Beside", "tags": ["Boat", "sea"], "rating": 5.0}
    assert again() == (0, 1)
    assert store.count("photos", where=(OneOf("tags", ("Boat",)),)) == 1
    # The one that has the picture's whole name is meant for it alone.
    (folder / "a.jpg.xmp").write_bytes(xmp("sail", title="Nearer"))
    assert again() == (1, 0)
    assert said() == own | {"title": "Nearer", "tags": ["sail", "sea"]}
    (folder / "a.jpg.xmp").write_bytes(b"<no XMP")
    report = run(folder, store, colour_encoder, roots)
    assert [note for _, note in report.notes] == [
        "a.jpg.xmp: XMP data is damaged: unclosed token: line 1, column 0"
    ]
    assert said() == own
    for sidecar in folder.glob("*.xmp"):
        sidecar.unlink()
    assert again() == (1, 0)
    assert said() == own
    assert again() == (0, 1)
    assert colour_encoder.encoded == 1


def test_a_file_beside_the_picture_that_is_no_xmp_costs_at_most_a_note(
    tmp_path: Path, store: EdgeStore, colour_encoder: ColourEncoder, roots: Roots
) -> None:
    for seed, name in enumerate(("a.jpg", "b.jpg", "c.jpg", "d.jpg")):
        shot(tmp_path / "p" / name, seed=seed)
    (tmp_path / "p" / "a.xmp").mkdir()
    os.mkfifo(tmp_path / "p" / "b.jpg.xmp")
    (tmp_path / "p" / "c.xmp").touch()
    (tmp_path / "p" / "d.xmp").write_bytes(b" " * (4 * 1024 * 1024 + 1))
    report = run(tmp_path / "p", store, colour_encoder, roots)
    assert report.written == 4
    assert [note for _, note in report.notes] == [
        "c.xmp: XMP data is damaged: no element found: line 1, column 0",
        "d.xmp: XMP data of more than 4 MiB",
    ]


def test_words_of_a_manifest_and_of_the_file_are_joined_and_each_can_change(
    tmp_path: Path, store: EdgeStore, colour_encoder: ColourEncoder, roots: Roots
) -> None:
    folder = tmp_path / "p"
    shot(folder / "a.jpg", xmp("sea", "Boat", title="Own title"))
    manifest = folder / "about.csv"
    manifest.write_text("image,tags,title,caption,price\na.jpg,boat;told,Told title,A boat,3\n")

    def payload() -> dict[str, object]:
        return dict(store.retrieve("photos", ["a.jpg"])["a.jpg"].payload)

    run(manifest, store, colour_encoder, roots)
    assert (payload()["tags"], payload()["title"]) == (["boat", "told", "sea"], "Told title")
    assert run(manifest, store, colour_encoder, roots).skipped == 1
    assert run(folder, store, colour_encoder, roots).skipped == 1
    shot(folder / "a.jpg", xmp("sky"), camera="Other")
    run(folder, store, colour_encoder, roots)
    assert payload()["tags"] == ["boat", "told", "sky"]
    assert (payload()["camera"], payload()["title"]) == ("Other", "Told title")
    assert descriptions_of(payload()) == {
        "tags": ["boat", "told"],
        "title": "Told title",
        "captions": ["A boat"],
        "price": 3,
    }


def test_a_manifest_column_that_pictures_fill_too_has_its_type_and_misfits_are_told(
    tmp_path: Path, store: EdgeStore, colour_encoder: ColourEncoder, roots: Roots
) -> None:
    rows = {
        "image": "a.jpg",
        "rating": 4.5,
        "iso": "fast",
        "title": "Short",
        "place": {"lat": 55.7, "lon": 37.6},
        "seen": "2020-02-03",
    }
    shot(tmp_path / "a.jpg")
    (tmp_path / "m.jsonl").write_text(json.dumps(rows))
    report = run(tmp_path / "m.jsonl", store, colour_encoder, roots)
    assert report.rejects == []
    assert [note for _, note in report.notes] == [
        "iso is 'fast', which is no integer; it is kept as table_iso"
    ]
    assert store.count("photos", where=(OneOf("table_iso", ("fast",)),)) == 1
    fields = by_name(store.describe("photos").fields)
    assert {name: fields[name].type for name in ("rating", "title", "place", "seen")} == {
        "rating": "float",
        "title": "text",
        "place": "geo",
        "seen": "datetime",
    }
    assert store.count("photos", where=(Range("rating", at_least=4.2),)) == 1
    near = Near("place", GeoPoint(55.7, 37.6), radius_m=1000)
    assert store.count("photos", where=(near,)) == 1


def test_a_collection_of_an_earlier_version_gets_the_fields_it_lacks(
    tmp_path: Path, store: EdgeStore, colour_encoder: ColourEncoder, roots: Roots
) -> None:
    from ingest import collection

    old = tuple(field for field in STANDARD_FIELDS if field.name not in ("rating", "phash", "iso"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collection, "STANDARD_FIELDS", old)
        collection.ensure_collection(store, "photos", colour_encoder)
    shot(tmp_path / "p" / "a.jpg", xmp("sea", rating=5))
    run(tmp_path / "p", store, colour_encoder, roots)
    assert store.count("photos", where=(Range("rating", at_least=5),)) == 1


def test_metadata_that_cannot_be_are_notes_on_a_picture_that_is_written(
    tmp_path: Path, store: EdgeStore, colour_encoder: ColourEncoder, roots: Roots
) -> None:
    path = shot(tmp_path / "p" / "a.jpg", b"<x>&broken;")
    report = run(tmp_path / "p", store, colour_encoder, roots)
    assert (report.written, report.rejected, report.noted) == (1, 0, 1)
    ((where, note),) = report.notes
    assert (where, note.split(":")[0]) == (str(path), "XMP data is damaged")


def test_copies_and_near_copies_of_a_library_are_listed(
    tmp_path: Path,
    colour_encoder: ColourEncoder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "p"
    shot(folder / "a.jpg", seed=3)
    (folder / "b.jpg").write_bytes((folder / "a.jpg").read_bytes())
    scene(3).resize((160, 120)).save(folder / "small.png")
    shot(folder / "other.jpg", seed=4)
    data = tmp_path / "data"
    monkeypatch.setenv("SCENESEARCH_DATA_DIR", str(data))
    store = EdgeStore(data / "edge")
    run(folder, store, colour_encoder, Roots())
    store.close()
    asked = CliRunner().invoke(app, ["library", "duplicates", "--json"])
    assert asked.exit_code == 0, asked.output
    found = json.loads(asked.stdout)
    (group,) = found["groups"]
    assert (found["pictures"], group["first"], group["copies"]) == (4, "a.jpg", ["b.jpg"])
    assert [near["image_id"] for near in group["near"]] == ["small.png"]
    shown = CliRunner().invoke(app, ["library", "duplicates"])
    assert "same content  b.jpg" in shown.stdout
