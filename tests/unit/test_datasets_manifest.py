"""Manifests: four formats, merged rows, typed columns, hostile paths."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scenesearch.datasets.manifest import Manifest, read_manifest
from scenesearch.datasets.tables import DatasetError
from scenesearch.pictures.records import GeoPoint


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures a.jpg ... f.jpg and trip/a.jpg; a manifest need not open them."""
    images = tmp_path / "images"
    (images / "trip").mkdir(parents=True)
    for name in ("a", "b", "c", "d", "e", "f", "trip/a"):
        (images / f"{name}.jpg").write_bytes(b"picture")
    return images


def read(folder: Path, text: str, name: str = "manifest.csv") -> Manifest:
    file = folder.parent / name
    file.write_text(text, encoding="utf-8")
    return read_manifest(file, folder)


def reasons(manifest: Manifest) -> list[tuple[int, str]]:
    return [(problem.line, problem.reason) for problem in manifest.problems]


def missing(folder: Path, name: str) -> str:
    return f"the picture {name!r} is missing: looked for it at {folder / name}"


def column(folder: Path, values: list[str]) -> tuple[str | None, list[object]]:
    """Type and values that a column of a CSV gets."""
    rows = [f'{name}.jpg,"{value}"\n' for name, value in zip("abcdef", values, strict=False)]
    manifest = read(folder, "image,x\n" + "".join(rows))
    return manifest.fields.get("x"), [record.metadata.get("x") for record in manifest.records]


# --- formats ---------------------------------------------------------------------------------


def test_csv_with_captions_tags_and_columns(folder: Path) -> None:
    text = (
        'image,caption,tags,Photo Stars\na.jpg,"A dog , wet","dog; beach",5\ntrip/a.jpg,A cat,,4\n'
    )
    manifest = read(folder, text)
    first, second = manifest.records
    assert (first.image_id, first.path) == ("a.jpg", (folder / "a.jpg").resolve())
    assert (first.captions, first.tags) == (("A dog , wet",), ("dog", "beach"))
    assert (second.image_id, second.tags) == ("trip/a.jpg", ())
    assert [record.metadata for record in manifest.records] == [
        {"Photo_Stars": 5},
        {"Photo_Stars": 4},
    ]
    assert manifest.fields == {"Photo_Stars": "integer"}
    assert manifest.problems == ()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.tsv", "image\tstars\na.jpg\t5\n"),
        ("m.csv", "image;stars\na.jpg;5\n"),
        ("m.csv", "stars|image\n5|a.jpg\n"),
        ("m.csv", "file_name,stars\na.jpg,5\n"),
        ("m.jsonl", '{"image": "a.jpg", "stars": 5}\n'),
    ],
)
def test_every_separator_and_json_lines_say_the_same(folder: Path, name: str, text: str) -> None:
    record = read(folder, text, name).records[0]
    assert (record.image_id, record.metadata) == ("a.jpg", {"stars": 5})


def test_parquet_keeps_its_types(folder: Path) -> None:
    moment = datetime(2020, 5, 1, 12, tzinfo=UTC)
    frame = pd.DataFrame(
        {
            "image": ["a.jpg", "b.jpg", "gone.jpg"],
            "captions": [["one", "two"], None, ["x"]],
            "tags": [["t"], [], None],
            "when": [moment, None, moment],
            "stars": [5, 4, 3],
            "price": [1.5, float("nan"), 2.0],
        }
    )
    file = folder.parent / "m.parquet"
    frame.to_parquet(file)
    manifest = read_manifest(file, folder)
    first, second = manifest.records
    assert first.captions == ("one", "two")
    assert first.tags == ("t",)
    assert first.metadata == {"when": moment, "stars": 5, "price": 1.5}
    assert second.metadata == {"stars": 4}
    assert manifest.fields == {"when": "datetime", "stars": "integer", "price": "float"}
    assert reasons(manifest) == [(3, missing(folder, "gone.jpg"))]


def test_json_values_keep_their_types(folder: Path) -> None:
    rows = [
        {
            "image": "a.jpg",
            "caption": ["one", "two"],
            "tags": ["x"],
            "code": "007",
            "open": True,
            "people": ["Ann", "Bo"],
            "spot": {"lat": 55.75, "lon": 37.62},
            "none": None,
        },
    ]
    manifest = read(folder, "\n".join(map(json.dumps, rows)), "m.jsonl")
    record = manifest.records[0]
    assert (record.captions, record.tags) == (("one", "two"), ("x",))
    assert record.metadata == {
        "code": "007",
        "open": True,
        "people": ("Ann", "Bo"),
        "spot": GeoPoint(55.75, 37.62),
    }
    assert manifest.fields == {
        "code": "keyword",
        "open": "boolean",
        "people": "keyword",
        "spot": "geo",
    }


def test_broken_json_lines_are_reported_with_their_line(folder: Path) -> None:
    text = '{"image": "a.jpg"}\n{"image": \n\n[1]\n' + "[" * 100_000 + '\n{"image": 5}\n'
    assert reasons(read(folder, text, "m.jsonl")) == [
        (2, "is not JSON"),
        (4, "is not a JSON object"),
        (5, "is not JSON"),
        (6, "names no picture"),
    ]


# --- rows about one picture ------------------------------------------------------------------


def test_caption_rows_of_one_picture_are_merged(folder: Path) -> None:
    text = "image,caption,place\na.jpg,one,Riga\nb.jpg,other,\na.jpg,two,Riga\n"
    manifest = read(folder, text)
    assert [record.captions for record in manifest.records] == [("one", "two"), ("other",)]
    assert manifest.records[0].metadata == {"place": "Riga"}
    assert manifest.problems == ()


def test_numbered_caption_columns_and_json_lists(folder: Path) -> None:
    text = 'image,caption_1,caption_2,captions\na.jpg,one,two,"[""three"", ""one""]"\n'
    assert read(folder, text).records[0].captions == ("one", "two", "three")


def test_contradicting_and_repeated_rows_are_reported(folder: Path) -> None:
    text = "image,place\na.jpg,Riga\na.jpg,Oslo\na.jpg,Riga\n"
    manifest = read(folder, text)
    assert manifest.records[0].metadata == {"place": "Riga"}
    assert reasons(manifest) == [
        (3, "place is 'Oslo', but 'Riga' on line 2; the first counts"),
        (4, "repeats line 2"),
    ]


# --- types -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "type_", "expected"),
    [
        (["true", "No"], "boolean", [True, False]),
        (["0", "1", "-5"], "integer", [0, 1, -5]),
        (["1", "2.5", "1e3"], "float", [1.0, 2.5, 1000.0]),
        (["007", "12"], "keyword", ["007", "12"]),
        (["99999999999999999999", "1"], "keyword", ["99999999999999999999", "1"]),
        (["nan", "1"], "integer", [None, 1]),
        (["2020-05-01", "2020-05-01T10:00:00Z"], "datetime",
         [datetime(2020, 5, 1), datetime(2020, 5, 1, 10, tzinfo=UTC)]),
        (["2020-13-01"], "keyword", ["2020-13-01"]),
        (["55.75, 37.62", "-33.9,151.2"], "geo", [GeoPoint(55.75, 37.62), GeoPoint(-33.9, 151.2)]),
        (["91.0,37.62"], "keyword", ["91.0,37.62"]),
        (["Riga", ""], "keyword", ["Riga", None]),
        (["a word " * 20], "text", [("a word " * 20).strip()]),
        (["", ""], None, [None, None]),
        (["١٢"], "keyword", ["١٢"]),
    ],
)  # fmt: skip
def test_the_type_of_a_column_is_what_its_values_are(
    folder: Path, values: list[str], type_: str | None, expected: list[object]
) -> None:
    assert column(folder, values) == (type_, expected)


def test_a_few_misfits_are_reported_and_do_not_change_the_type(folder: Path) -> None:
    for number in range(40):
        (folder / f"{number}.jpg").write_bytes(b"picture")
    rows = [f"{number}.jpg,{number if number != 7 else 'unknown'}\n" for number in range(40)]
    manifest = read(folder, "image,stars\n" + "".join(rows))
    assert manifest.fields == {"stars": "integer"}
    assert "stars" not in manifest.records[7].metadata
    assert reasons(manifest) == [(9, "stars is 'unknown', which is no integer")]


def test_columns_of_degrees_become_one_location(folder: Path) -> None:
    text = "image,lat,lon\na.jpg,55.75,37.62\nb.jpg,95,37\nc.jpg,10,\n"
    manifest = read(folder, text)
    assert [record.metadata for record in manifest.records] == [
        {"location": GeoPoint(55.75, 37.62)},
        {},
        {},
    ]
    assert manifest.fields == {"location": "geo"}
    assert reasons(manifest) == [
        (3, "location is '95,37', which is no geo"),
        (4, "has one of latitude and longitude without the other"),
    ]


def test_columns_that_replace_exif_keep_its_types(folder: Path) -> None:
    text = (
        "image,taken,camera,location\n"
        'a.jpg,2019:07:28 18:05:57,5,"1,2"\n'
        "b.jpg,yesterday,Canon,here\n"
    )
    manifest = read(folder, text)
    assert manifest.fields == {
        "taken": "datetime",
        "camera": "keyword",
        "location": "geo",
        "table_taken": "keyword",
        "table_location": "keyword",
    }
    assert manifest.records[0].metadata == {
        "taken": datetime(2019, 7, 28, 18, 5, 57),
        "camera": "5",
        "location": GeoPoint(1, 2),
    }
    assert manifest.records[1].metadata == {
        "camera": "Canon",
        "table_taken": "yesterday",
        "table_location": "here",
    }
    assert reasons(manifest) == [
        (3, "taken is 'yesterday', which is no datetime; it is kept as table_taken"),
        (3, "location is 'here', which is no geo; it is kept as table_location"),
    ]


# --- hostile and broken ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["../secret.jpg", "trip/../../secret.jpg", "/etc/passwd", "x\\..\\..\\secret.jpg"]
)
def test_a_path_that_leaves_the_folder_is_refused(folder: Path, name: str) -> None:
    (folder.parent / "secret.jpg").write_bytes(b"secret")
    manifest = read(folder, f"image\na.jpg\n{name}\n")
    assert [record.image_id for record in manifest.records] == ["a.jpg"]
    assert reasons(manifest)[0][0] == 3
    assert "lies outside of" in reasons(manifest)[0][1]


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="needs symbolic links")
def test_a_link_that_leaves_the_folder_is_refused(folder: Path) -> None:
    secret = folder.parent / "secret.jpg"
    secret.write_bytes(b"secret")
    (folder / "link.jpg").symlink_to(secret)
    manifest = read(folder, "image\na.jpg\nlink.jpg\n")
    assert [record.image_id for record in manifest.records] == ["a.jpg"]
    assert "lies outside of" in reasons(manifest)[0][1]


def test_missing_pictures_folders_and_nonsense_names_are_reported(folder: Path) -> None:
    text = f"image\na.jpg\ngone.jpg\ntrip\n{'x' * 5000}.jpg\nhttp://x/a.jpg\n"
    manifest = read(folder, text)
    assert [line for line, _ in reasons(manifest)] == [3, 4, 5, 6]
    assert len(manifest.records) == 1


def test_absolute_and_windows_paths_inside_the_folder_are_fine(folder: Path) -> None:
    manifest = read(folder, f"image\n{folder / 'b.jpg'}\ntrip\\a.jpg\n./c.jpg\n")
    assert [record.image_id for record in manifest.records] == ["b.jpg", "trip/a.jpg", "c.jpg"]


def test_a_row_of_another_length_is_reported(folder: Path) -> None:
    manifest = read(folder, "image,place\na.jpg,Riga\nb.jpg\nc.jpg,Oslo,x\n")
    assert reasons(manifest) == [
        (3, "expected 2 columns, found 1"),
        (4, "expected 2 columns, found 3"),
    ]


def test_a_column_without_a_name_is_left_out_and_reported(folder: Path) -> None:
    manifest = read(folder, ",image\n0,a.jpg\n")
    assert manifest.records[0].metadata == {}
    assert reasons(manifest) == [(1, "column 1 has no name and is left out")]


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("m.csv", "", "has no column 'image'"),
        ("m.csv", "photo,place\na.jpg,Riga\n", r"has no column 'image'.*found: 'photo, place'"),
        ("m.csv", "image,a b,a-b\na.jpg,1,2\n", "has two columns 'a_b'"),
        ("m.csv", "image\ngone.jpg\n", r"no usable row \(line 2: the picture 'gone.jpg' is miss"),
        ("m.parquet", "image\na.jpg\n", "is not a readable Parquet file"),
        ("m.xlsx", "image\na.jpg\n", "is no manifest: expected CSV, TSV, JSON Lines or Parquet"),
    ],
)
def test_what_is_no_manifest_is_one_sentence(
    folder: Path, name: str, text: str, sentence: str
) -> None:
    with pytest.raises(DatasetError, match=sentence) as caught:
        read(folder, text, name)
    assert "\n" not in str(caught.value)


_scalar = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
_json = st.recursive(_scalar, lambda inner: st.lists(inner, max_size=3), max_leaves=5)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_json, min_size=1, max_size=6))
def test_every_value_is_kept_or_reported(folder: Path, values: list[object]) -> None:
    lines = [
        json.dumps({"image": f"{name}.jpg", "x": value})
        for name, value in zip("abcdef", values, strict=False)
    ]
    manifest = read(folder, "\n".join(lines), "m.jsonl")
    reported = {problem.line for problem in manifest.problems}
    for line, (record, value) in enumerate(zip(manifest.records, values, strict=True), start=1):
        empty = value is None or value == [] or value != value
        empty = empty or (isinstance(value, str) and not value.strip())
        assert ("x" in record.metadata) + (line in reported) == (0 if empty else 1)


# --- limits ----------------------------------------------------------------------------------


def parquet(folder: Path, **columns: object) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = folder.parent / "manifest.parquet"
    pq.write_table(pa.table(columns), file, compression="zstd")
    return file


def repeated(text: str, times: int) -> object:
    """So many times the same text, which takes the space of one."""
    import pyarrow as pa

    return pa.DictionaryArray.from_arrays(pa.array([0] * times, pa.int32()), [text])


def test_a_parquet_of_more_rows_than_the_limit_is_refused_by_its_footer(folder: Path) -> None:
    file = parquet(folder, image=repeated("a.jpg", 5_000_001))
    assert file.stat().st_size < 100_000
    with pytest.raises(DatasetError, match=r"has more than 5,000,000 rows, which is the limit"):
        read_manifest(file, folder)


@pytest.mark.parametrize("name", ["m.csv", "m.jsonl", "m.parquet"])
def test_rows_are_counted_while_they_are_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for module in ("tables", "manifest"):
        monkeypatch.setattr(f"scenesearch.datasets.{module}.MAX_ROWS", 10)
    file = folder.parent / name
    if name == "m.parquet":
        file = parquet(folder, image=["a.jpg"] * 11)
    elif name == "m.csv":
        file.write_text("image\n" + "a.jpg\n" * 11)
    else:
        file.write_text('{"image": "a.jpg"}\n' * 11)
    with pytest.raises(DatasetError, match="rows, which is the limit"):
        read_manifest(file, folder)


def test_a_text_that_a_parquet_repeats_does_not_unpack(folder: Path) -> None:
    file = parquet(folder, image=["a.jpg"] * 1000, caption=repeated("x" * 3_000_000, 1000))
    assert file.stat().st_size < 100_000  # 3 GB, if it were taken for what it says
    with pytest.raises(DatasetError, match="a value of the column 'caption' is over 1 MiB"):
        read_manifest(file, folder)


def test_a_list_without_end_in_a_parquet_is_refused(folder: Path) -> None:
    file = parquet(folder, image=["a.jpg"], tags=[["t"] * 100_000])
    with pytest.raises(DatasetError, match="a list of the column 'tags' has more than 1,000"):
        read_manifest(file, folder)


def test_columns_of_a_parquet_that_nothing_can_be_told_by_are_left_out(folder: Path) -> None:
    import pyarrow as pa

    file = parquet(
        folder,
        image=["a.jpg"],
        caption=["A dog"],
        bytes=[b"x"],
        deep=[[[1]]],
        embedding=[[0.5] * 1536],
        struct=[{"bytes": b"x", "path": "y"}],
        tags=pa.array([["dog", "snow"]], pa.large_list(pa.large_string())),
    )
    manifest = read_manifest(file, folder)
    assert manifest.records[0].captions == ("A dog",)
    assert manifest.records[0].tags == ("dog", "snow")
    assert [reason for _, reason in reasons(manifest)] == [
        "the column 'bytes' holds bytes and is left out",
        "the column 'deep' holds lists within lists and is left out",
        "the column 'embedding' holds lists of no texts and is left out",
        "the column 'struct' holds bytes and is left out",
    ]


@pytest.mark.parametrize("name", ["m.csv", "m.jsonl", "m.parquet"])
def test_a_table_of_more_columns_than_the_limit_is_refused_or_cut(folder: Path, name: str) -> None:
    names = [f"c{number}" for number in range(250)]
    file = folder.parent / name
    if name == "m.jsonl":  # whose columns come one by one
        rows = [{"image": "a.jpg", column: 1} for column in names]
        manifest = read(folder, "\n".join(map(json.dumps, rows)), name)
        assert len(manifest.fields) == 200
        assert reasons(manifest)[0] == (201, "'c200' is one of more than 200 columns")
        return
    if name == "m.parquet":
        file = parquet(folder, image=["a.jpg"], **{column: [1] for column in names})
    else:
        file.write_text(",".join(["image", *names]) + "\n" + ",".join(["a.jpg", *"1" * 250]) + "\n")
    with pytest.raises(DatasetError, match="has 251 columns, at most 200 are read"):
        read_manifest(file, folder)


def test_words_without_end_are_cut_and_told(folder: Path) -> None:
    row = {
        "image": "a.jpg",
        "captions": [f"caption {number}" for number in range(120)],
        "tags": [f"tag {number}" for number in range(300)],
        "note": "y" * 9000,
        "people": [f"p{number}" for number in range(300)],
    }
    long = {"image": "b.jpg", "caption": "x" * 6000, "tags": ["t" * 300]}
    manifest = read(folder, json.dumps(row) + "\n" + json.dumps(long), "m.jsonl")
    first, second = manifest.records
    assert (len(first.captions), len(first.tags)) == (100, 200)
    assert (len(first.metadata["note"]), len(first.metadata["people"])) == (5000, 200)
    assert (len(second.captions[0]), len(second.tags[0])) == (5000, 200)
    assert reasons(manifest) == [
        (1, "20 captions are beyond the 100 that are kept"),
        (1, "100 tags are beyond the 200 that are kept"),
        (1, "note has 9,000 characters; the first 5,000 are kept"),
        (1, "people has 300 values; the first 200 count"),
        (2, "caption has 6,000 characters; the first 5,000 are kept"),
        (2, "tags has 300 characters; the first 200 are kept"),
    ]


def test_rows_that_say_more_than_can_be_kept_are_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scenesearch.datasets.columns._MAX_CHARS", 1000)
    rows = "".join(f"a.jpg,{number} {'x' * 90}\n" for number in range(20))
    with pytest.raises(DatasetError, match="more than 1,000 characters of their pictures"):
        read(folder, "image,caption\n" + rows)


def test_problems_without_end_are_not_listed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scenesearch.datasets.tables._MAX_PROBLEMS", 3)
    manifest = read(folder, "image\na.jpg\n" + "z.jpg\n" * 50)
    assert reasons(manifest) == [
        (3, missing(folder, "z.jpg")),
        (4, missing(folder, "z.jpg")),
        (5, "and what is left out from here on, which is not listed"),
    ]
