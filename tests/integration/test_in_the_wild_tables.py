"""Tables as people really have them: what each cell, name and column must become.

Each row of the lists below is an input and the value that it must give.
"""

import io
import json
import tarfile
import unicodedata
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from ingest.collection import declared_types
from ingest.pipeline import ingest
from ingest.report import IngestReport
from ingest.sources.find import find_sources
from ingest.sources.roots import Roots
from scenesearch.commands.app import app
from scenesearch.datasets.cells import pictures_listed, texts_listed
from scenesearch.datasets.manifest import Manifest, read_manifest
from scenesearch.datasets.queries import read_queries
from scenesearch.datasets.tables import DatasetError
from scenesearch.datasets.task import read_crowd
from scenesearch.evaluation.evaluate import build_qrels
from scenesearch.pictures.records import GeoPoint
from scenesearch.search.grammar import parse, parse_where
from scenesearch.search.names import PictureNames
from scenesearch.search.request import QueryError
from scenesearch.store.edge import EdgeStore
from scenesearch.store.fields import BUILTIN_FIELDS, by_name, custom_fields
from scenesearch.store.filters import OneOf
from tests.conftest import ColourEncoder

NFC, NFD = "Café.jpg", unicodedata.normalize("NFD", "Café.jpg")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures a.jpg ... e.jpg of their own colours, 40 x 30."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number, name in enumerate("abcde"):
        Image.new("RGB", (40, 30), (50 * number, 0, 0)).save(pictures / f"{name}.jpg")
    return pictures


@pytest.fixture
def roots(tmp_path: Path) -> Roots:
    return Roots(tmp_path / "library" / "sources.json")


def read(folder: Path, data: str | bytes, name: str = "table.csv") -> Manifest:
    file = folder.parent / name
    file.write_bytes(data.encode() if isinstance(data, str) else data)
    return read_manifest(file, folder)


def said(manifest: Manifest) -> list[str]:
    return [problem.reason for problem in manifest.problems]


def fill(
    paths: Sequence[Path], store: EdgeStore, encoder: ColourEncoder, roots: Roots
) -> IngestReport:
    sources = find_sources(paths, roots=roots, declared=declared_types(store, "photos"))
    return ingest(sources, library="photos", encoder=encoder, store=store)


# --- cells -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "texts"),
    [
        ("['sea', 'boat']", ["sea", "boat"]),             # pandas, a list
        ("['sea' 'boat']", ["sea", "boat"]),              # pandas, a numpy array
        ("['sea'\n 'boat']", ["sea", "boat"]),            # the same, a long one
        ("array(['sea', 'boat'], dtype=object)", ["sea", "boat"]),
        ("('sea', 'boat')", ["sea", "boat"]),             # a tuple
        ("{'sea', 'boat'}", ["sea", "boat"]),             # a set
        ('["sea", "boat"]', ["sea", "boat"]),             # JSON
        ("['it\\'s', \"a 'dog'\"]", ["it's", "a 'dog'"]),  # quotes within quotes
        ("['a, b', 'c']", ["a, b", "c"]),                 # a comma within a text
        ("['caf\\xe9', nan, None]", ["café"]),            # an escape, and nothing twice
        ("[]", []),
        ("[Beach at dusk]", None),                        # a caption in brackets
        ("[1, 2, 3]", None),                              # an embedding
        ("(48.1, 11.5)", None),                           # a place
        ("['a', __import__('os')]", None),                # nothing is ever evaluated
        ("['\\ud800']", None),                            # half a character
        ("[" * 100_000, None),
        ("['" + "\\'" * 100_000, None),
    ],
)  # fmt: skip
def test_a_list_in_a_cell_is_its_texts(cell: str, texts: list[str] | None) -> None:
    assert texts_listed(cell) == texts


@pytest.mark.parametrize(
    ("cells", "type_", "values"),
    [
        (["0.5", "NaN", "nan", "NULL", "None"], "float", [0.5, None, None, None, None]),
        (["1", "N/A", "<NA>", "", "null"], "integer", [1, None, None, None, None]),
        (["2019-01-01", "NaT"], "datetime", [datetime(2019, 1, 1), None]),
        (["yes", "None", "no"], "boolean", [True, None, False]),
        (["red", "NaN"], "keyword", ["red", None]),
        (["1", "NA"], "integer", [1, None]),              # no value, among numbers
        (["DE", "NA"], "keyword", ["DE", "NA"]),          # Namibia
        (["1.5", "inf", "-inf"], "float", [1.5, None, None]),
        (["9223372036854775807", "1"], "integer", [2**63 - 1, 1]),
        (["9223372036854775808", "9223372036854775809"], "keyword",
         ["9223372036854775808", "9223372036854775809"]),
        (["9007199254740993", "0.5"], "keyword", ["9007199254740993", "0.5"]),
        (["12345678901234567890.0", "1"], "keyword", ["12345678901234567890.0", "1"]),
        (["0,5", "0,7"], "float", [0.5, 0.7]),
        (["1.234,5", "0,5"], "float", [1234.5, 0.5]),
        (["1,234,567", "2,500"], "integer", [1234567, 2500]),
        (["1,234.5", "2,500"], "float", [1234.5, 2500.0]),
        (["1'234.5", "1\u202f234"], "float", [1234.5, 1234.0]),
        (["1.234.567"], "integer", [1234567]),
        (["1,234", "2,500"], "keyword", ["1,234", "2,500"]),    # may be either
        (["0,5", "1,234,567"], "keyword", ["0,5", "1,234,567"]),  # contradict each other
        (["192.168.100.200"], "keyword", ["192.168.100.200"]),
        (["007", "012"], "keyword", ["007", "012"]),
        (["['red', 'blue']", "['red']"], "keyword", [("red", "blue"), ("red",)]),
    ],
)  # fmt: skip
def test_a_column_of_cells_becomes(
    folder: Path, cells: list[str], type_: str, values: list[object]
) -> None:
    rows = "".join(f'{name}.jpg,"{cell}"\n' for name, cell in zip("abcde", cells, strict=False))
    manifest = read(folder, f"image,x\n{rows}")
    assert manifest.fields == {"x": type_}
    assert [record.metadata.get("x") for record in manifest.records] == values


def test_one_long_integer_makes_a_text_of_the_column_however_many_others_fit(folder: Path) -> None:
    rows = [{"image": "a.jpg", "x": 2**63}, *({"image": f"{n}.jpg", "x": 1} for n in range(40))]
    for row in rows[1:]:
        (folder / str(row["image"])).write_bytes(b"picture")
    manifest = read(folder, "\n".join(map(json.dumps, rows)), "table.jsonl")
    assert manifest.fields == {"x": "keyword"}
    assert manifest.records[0].metadata == {"x": "9223372036854775808"}


def test_infinite_numbers_and_unclear_commas_are_told(folder: Path) -> None:
    rows = 'a.jpg,inf,"1,234"\nb.jpg,1,"2,500"\n'
    assert said(read(folder, f"image,x,y\n{rows}")) == [
        "x is 'inf', not a finite number",
        "y has numbers like '1,234', whose comma may be a decimal comma or a separator of "
        "thousands, and is kept as text; write them without it",
    ]


def test_another_column_tells_what_a_comma_means(folder: Path) -> None:
    manifest = read(folder, "image;x;lat;lon;y\na.jpg;1,500;48,135;-11,582;0,5\n")
    assert manifest.records[0].metadata == {
        "x": 1.5,
        "y": 0.5,
        "location": GeoPoint(48.135, -11.582),
    }


def test_lists_of_pandas_are_captions_tags_and_values(folder: Path) -> None:
    row = "a.jpg,\"['A dog runs.', 'A brown dog']\",\"['sea' 'boat']\",\"['red', 'blue']\"\n"
    record = read(folder, f"image,captions,tags,colours\n{row}").records[0]
    assert record.captions == ("A dog runs.", "A brown dog")
    assert record.tags == ("sea", "boat")
    assert record.metadata == {"colours": ("red", "blue")}


# --- files -----------------------------------------------------------------------------------

SMALL = "image;caption\r\na.jpg;Köln\r\n"


@pytest.mark.parametrize(
    ("data", "caption"),
    [
        (SMALL.encode(), "Köln"),
        (SMALL.encode("utf-8-sig"), "Köln"),
        (SMALL.encode("utf-16"), "Köln"),
        (SMALL.encode("utf-16-le"), "Köln"),  # without a byte order mark
        (SMALL.encode("utf-32"), "Köln"),
        (SMALL.encode("cp1252"), "Köln"),
        (("sep=;\r\n" + SMALL).encode("utf-8-sig"), "Köln"),
        (('"sep=;"\r\n' + SMALL).encode(), "Köln"),
        (SMALL.replace(";", "\t").encode(), "Köln"),
        (SMALL.replace(";", "|").encode(), "Köln"),
        (SMALL.replace("image;caption", " Image ; CAPTION ").encode(), "Köln"),
        (SMALL.replace("image;caption", "File Name;Caption 1").encode(), "Köln"),
    ],
)
def test_a_table_is_read_however_it_was_saved(folder: Path, data: bytes, caption: str) -> None:
    (record,) = read(folder, data).records
    assert (record.image_id, record.captions) == ("a.jpg", (caption,))


def test_windows_1252_is_told_once_and_an_umlaut_in_the_header_is_read(folder: Path) -> None:
    manifest = read(folder, "image;Größe;ort\na.jpg;3;Köln\nb.jpg;4;Bonn\n".encode("cp1252"))
    assert manifest.fields == {"Größe": "integer", "ort": "keyword"}
    assert [(one.line, one.is_note) for one in manifest.problems] == [(1, True)]
    assert "was read as Windows-1252" in said(manifest)[0]


def test_a_header_that_does_not_decode_says_so(folder: Path) -> None:
    data = "image,порода\na.jpg,пудель\n".encode("cp1251")
    with pytest.raises(DatasetError, match=r"table.csv:1: the header is neither UTF-8 nor Windows"):
        read(folder, data)


def test_a_row_in_another_alphabet_is_left_out_instead_of_misread(folder: Path) -> None:
    data = b"image,caption\na.jpg," + "Собака".encode("cp1251") + b"\nb.jpg,A dog\n"
    manifest = read(folder, data)
    assert [record.image_id for record in manifest.records] == ["b.jpg"]
    assert said(manifest) == ["is not valid UTF-8"]


def test_half_a_character_in_json_costs_its_row(folder: Path) -> None:
    data = '{"image": "a.jpg", "caption": "x \\ud800"}\n{"image": "b.jpg"}\n'
    manifest = read(folder, data, "table.jsonl")
    assert [record.image_id for record in manifest.records] == ["b.jpg"]
    assert said(manifest) == ["names half a character, '\\ud800' or the like"]


# --- names of pictures -----------------------------------------------------------------------


@pytest.mark.parametrize(("on_disk", "in_table"), [(NFC, NFD), (NFD, NFC)])
def test_a_manifest_finds_a_name_in_either_spelling_and_keeps_the_one_on_disk(
    folder: Path, on_disk: str, in_table: str
) -> None:
    (folder / on_disk).write_bytes(b"picture")
    (record,) = read(folder, f"image,größe\n{in_table},3\n").records
    assert record.image_id == on_disk
    assert record.metadata == {"größe": 3}


def test_words_of_a_table_are_kept_composed(folder: Path) -> None:
    text = unicodedata.normalize("NFD", "image,caption,tags,plätze\na.jpg,Köln,Café,Öl\n")
    (record,) = read(folder, text).records
    assert (record.captions, record.tags) == (("Köln",), ("Café",))
    assert record.metadata == {"plätze": "Öl"}


def test_a_name_in_another_case_is_found_if_it_can_be_only_one(folder: Path) -> None:
    (folder / "E.JPG").write_bytes(b"picture")
    manifest = read(folder, "image\nA.JPG\nE.jpg\n")
    assert [record.image_id for record in manifest.records] == ["a.jpg"]
    assert said(manifest) == [f"the picture 'E.jpg' is missing: looked for it at {folder}/E.jpg"]


@pytest.mark.parametrize(("stored", "typed"), [(NFC, NFD), (NFD, NFC)])
def test_queries_and_examples_find_a_name_in_either_spelling(
    folder: Path,
    store: EdgeStore,
    colour_encoder: ColourEncoder,
    roots: Roots,
    stored: str,
    typed: str,
) -> None:
    Image.new("RGB", (40, 30), "blue").save(folder / stored)
    fill([folder], store, colour_encoder, roots)
    names = PictureNames(store, store.resolve("photos"), "photos")
    for name in (typed, f"/elsewhere/{typed}", typed.removesuffix(".jpg").upper()):
        assert names.find([name])[name].image_id == stored
    with pytest.raises(QueryError, match="no such picture"):
        names.find(["other/a.png"])


def test_a_query_is_composed() -> None:
    fields = (*BUILTIN_FIELDS, *custom_fields({"größe": "integer"}))
    typed = unicodedata.normalize("NFD", "größe:>3")
    assert parse_where([typed], fields)[0].field == "größe"
    assert parse(unicodedata.normalize("NFD", "Café"), fields).text == "Café"


def test_absolute_paths_inside_a_folder_of_the_library_are_read(
    folder: Path, tmp_path: Path, store: EdgeStore, colour_encoder: ColourEncoder, roots: Roots
) -> None:
    fill([folder], store, colour_encoder, roots)
    (tmp_path / "lists").mkdir()
    table = tmp_path / "lists" / "table.csv"
    far = tmp_path / ("long" * 30) / "x.jpg"
    table.write_text(f"image,price\n{folder / 'a.jpg'},3\n{far},4\n{folder / 'no.jpg'},5\n")
    report = fill([table], store, colour_encoder, roots)
    assert store.retrieve("photos", ["a.jpg"])["a.jpg"].payload["price"] == 3
    assert roots.known == (str(folder),)
    assert [reject.reason for reject in report.rejects] == [
        f"'{far}' lies outside of {tmp_path / 'lists'} and of the folders of this library: ingest "
        "its folder first, or name that folder together with --manifest",
        f"the picture '{folder / 'no.jpg'}' is missing: looked for it at {folder / 'no.jpg'}",
    ]


def test_a_manifest_given_before_its_folder_is_read_in_the_same_run(
    folder: Path, tmp_path: Path, store: EdgeStore, colour_encoder: ColourEncoder, roots: Roots
) -> None:
    table = tmp_path / "table.csv"
    table.write_text(f"image,price\n{folder / 'a.jpg'},3\n")
    assert fill([table, folder], store, colour_encoder, roots).rejects == []
    assert store.count("photos") == 5
    assert store.retrieve("photos", ["a.jpg"])["a.jpg"].payload["price"] == 3


# --- columns that clash ------------------------------------------------------------------------


def shard(file: Path, rows: dict[str, dict[str, object]], pictures: Path) -> Path:
    """A WebDataset: each picture with its columns as JSON."""
    with tarfile.open(file, "w") as tar:
        for name, row in rows.items():
            tar.add(pictures / name, name)
            data = json.dumps(row).encode()
            member = tarfile.TarInfo(name.replace(".jpg", ".json"))
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return file


COLUMNS = {"width": 40, "height": 99, "date": "2019-05-01", "iso": "fast", "rating": 4}


def table_of(kind: str, folder: Path) -> Path:
    """The columns above, about a.jpg, as each reader gets them."""
    row = {"image": "a.jpg", **COLUMNS}
    file = folder / f"table.{kind}"
    if kind == "csv":
        file.write_text(",".join(row) + "\n" + ",".join(map(str, row.values())) + "\n")
    elif kind == "jsonl":
        file.write_text(json.dumps(row))
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist([row]), file)
    else:
        shard(file, {"a.jpg": COLUMNS}, folder)
    return file


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "tar"])
def test_columns_named_like_fields_of_the_picture_are_dealt_with_alike(
    folder: Path, store: EdgeStore, colour_encoder: ColourEncoder, roots: Roots, kind: str
) -> None:
    table = table_of(kind, folder)
    report = fill([table], store, colour_encoder, roots)
    (point,) = store.scroll("photos")
    payload = point.payload
    assert (payload["width"], payload["height"], payload["rating"]) == (40, 30, 4.0)
    assert str(payload["date"]).startswith("2019-05-01")
    assert "table_width" not in payload  # it agrees
    assert (payload["table_height"], payload["table_iso"]) == (99, "fast")
    assert report.rejects == []
    assert sorted(note for _, note in report.notes) == [
        "height is filled from the picture itself; where the column says something else, that is "
        "kept as table_height",
        "iso is 'fast', which is no integer; it is kept as table_iso",
        "width is filled from the picture itself; where the column says something else, that is "
        "kept as table_width",
    ]
    assert fill([table], store, colour_encoder, roots).skipped == 1


# --- types -----------------------------------------------------------------------------------


def yes_and_no(kind: str, folder: Path, names: str) -> Path:
    rows = [
        {"image": f"{name}.jpg", "ok": "yes" if number % 2 else "no"}
        for number, name in enumerate(names)
    ]
    file = folder / f"{names}.{kind}"
    if kind == "csv":
        file.write_text("image,ok\n" + "".join(f"{row['image']},{row['ok']}\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), file)
    return file


@pytest.mark.parametrize("kinds", [("csv", "parquet"), ("parquet", "csv")])
@pytest.mark.parametrize("at_once", [True, False])
def test_yes_and_no_are_the_same_from_every_reader(
    folder: Path,
    store: EdgeStore,
    colour_encoder: ColourEncoder,
    roots: Roots,
    kinds: tuple[str, str],
    at_once: bool,
) -> None:
    tables = [yes_and_no(kinds[0], folder, "ab"), yes_and_no(kinds[1], folder, "cd")]
    for paths in [tables] if at_once else [[table] for table in tables]:
        fill(paths, store, colour_encoder, roots)
    assert by_name(store.describe("photos").fields)["ok"].type == "boolean"
    assert store.count("photos", where=(OneOf("ok", (True,)),)) == 2


@pytest.mark.parametrize(
    ("first", "second", "type_", "value"),
    [
        ('{"x": 1.5}', '{"x": 2}', "float", 2.0),
        ('{"x": 1}', '{"x": 2.0}', "integer", 2),
        ('{"x": 1}', '{"x": "2"}', "integer", 2),
        ('{"x": true}', '{"x": 1}', "boolean", True),
        ('{"x": "maybe"}', '{"x": "yes"}', "keyword", "yes"),
        ('{"x": "red"}', '{"x": 5}', "keyword", "5"),
        ('{"x": "red"}', json.dumps({"x": "long " * 40}), "keyword", ("long " * 40).strip()),
    ],
)
def test_a_column_gets_the_type_that_the_library_has(
    folder: Path,
    store: EdgeStore,
    colour_encoder: ColourEncoder,
    roots: Roots,
    first: str,
    second: str,
    type_: str,
    value: object,
) -> None:
    for name, row in (("a", first), ("b", second)):
        table = folder / f"{name}.jsonl"
        table.write_text(json.dumps({"image": f"{name}.jpg"} | json.loads(row)))
        fill([table], store, colour_encoder, roots)
    assert by_name(store.describe("photos").fields)["x"].type == type_
    assert store.retrieve("photos", ["b.jpg"])["b.jpg"].payload["x"] == value


def test_a_real_conflict_names_the_column_both_types_and_the_way_out(
    folder: Path, store: EdgeStore, colour_encoder: ColourEncoder, roots: Roots
) -> None:
    first, second = folder / "1.csv", folder / "2.csv"
    first.write_text("image,price\na.jpg,3\n")
    second.write_text("image,price\nb.jpg,cheap\n")
    fill([first], store, colour_encoder, roots)
    with pytest.raises(DatasetError) as caught:
        fill([second], store, colour_encoder, roots)
    assert str(caught.value) == (
        f"{second}: the column 'price' holds values of type keyword ('cheap'), but the library has "
        "price as a field of type integer: rename the column in the table, or bring the table into "
        "another library with --library NAME"
    )


# --- evaluation files --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "names"),
    [
        ("a.jpg, b.jpg", ["a.jpg", "b.jpg"]),
        ("a.jpg;b.jpg", ["a.jpg", "b.jpg"]),
        ("a.jpg|b.jpg", ["a.jpg", "b.jpg"]),
        ("a.jpg b.jpg", ["a.jpg", "b.jpg"]),
        ("my dog.jpg", ["my dog.jpg"]),
        ("['a.jpg', 'b.jpg']", ["a.jpg", "b.jpg"]),
        ("['a.jpg' 'b.jpg']", ["a.jpg", "b.jpg"]),
        ('["a, b.jpg", "c.jpg"]', ["a, b.jpg", "c.jpg"]),
        ("[a.jpg, b.jpg]", ["a.jpg", "b.jpg"]),
    ],
)
def test_relevant_pictures_are_listed_in_any_way(cell: str, names: list[str]) -> None:
    assert pictures_listed(cell) == names


@pytest.mark.parametrize(
    ("name", "image_id"),
    [
        ("boat.jpg", "2019/sea/boat.jpg"),
        ("./sea/boat.jpg", "2019/sea/boat.jpg"),
        ("/photos/2019/sea/boat.jpg", "2019/sea/boat.jpg"),
        ("C:\\photos\\top.jpg", "top.jpg"),
        ("SEA/BOAT.JPG", "2019/sea/boat.jpg"),
        ("boat", "2019/sea/boat.jpg"),
        (NFC, f"2019/{NFD}"),
        ("2020/sea/boat.jpg", None),  # another folder is another picture
        ("nothere.jpg", None),
    ],
)
def test_a_query_file_names_a_picture(tmp_path: Path, name: str, image_id: str | None) -> None:
    file = tmp_path / "queries.csv"
    file.write_text(f"Query Text,IMAGES\na boat,{name}\n")
    ids = {"2019/sea/boat.jpg", "top.jpg", f"2019/{NFD}"}
    qrels, omissions = build_qrels(read_queries(file).queries, ids, ids)
    assert qrels == ({"q1": {image_id: 1}} if image_id else {})
    assert [one.reason for one in omissions] == ([] if image_id else ["not in the library"])


def test_a_picture_named_twice_counts_once_and_is_told(tmp_path: Path) -> None:
    file = tmp_path / "queries.csv"
    file.write_text('query_text,images\na dog,"a.jpg|a.jpg|b.jpg"\na dog,b.jpg;c.jpg;/x/c.jpg\n')
    found = read_queries(file)
    assert found.queries[0].relevant == ("a.jpg", "b.jpg", "c.jpg", "/x/c.jpg")
    assert [(one.line, one.reason, one.is_note) for one in found.problems] == [
        (2, "names a.jpg more than once; each counts once", True),
        (3, "names b.jpg more than once; each counts once", True),
    ]
    ids = {"a.jpg", "b.jpg", "c.jpg"}
    qrels, omissions = build_qrels(found.queries, ids, ids)
    assert qrels == {"q1": {"a.jpg": 1, "b.jpg": 1, "c.jpg": 1}}
    assert [(one.reason, one.image_ids, one.left_out) for one in omissions] == [
        ("named twice, counted once", ("/x/c.jpg",), False)
    ]


def test_judgments_name_pictures_in_either_spelling(tmp_path: Path) -> None:
    file = tmp_path / "CrowdAnnotations.tsv"
    file.write_text(f"{NFC}\t{NFC}#0\t1\t3\t0\n")
    assert [row.image for row in read_crowd(file, images={NFD}).rows] == [NFD]


# --- the command -------------------------------------------------------------------------------


def test_the_command_says_what_it_noted_and_goes_on(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.tiny_encoder import write_tiny_encoder

    data = tmp_path / "data"
    write_tiny_encoder(data / "models" / "tiny")
    monkeypatch.setenv("SCENESEARCH_DATA_DIR", str(data))
    monkeypatch.setenv("SCENESEARCH_ENCODER", "tiny")
    table = folder / "table.csv"
    table.write_bytes("sep=;\r\nImage;Ort;width\r\na.jpg;Köln;9\r\n".encode("cp1252"))
    done = CliRunner().invoke(app, ["ingest", str(table), "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["written"], found["rejected"], len(found["notes"])) == (1, 0, 2)
    table.write_text("image,Ort,width\nb.jpg,Bonn,wide\n")
    done = CliRunner().invoke(app, ["ingest", str(table), "--json"])
    (reject,) = json.loads(done.stdout)["rejects"]
    assert reject["reason"] == "table_width is 'wide', which is no integer"
