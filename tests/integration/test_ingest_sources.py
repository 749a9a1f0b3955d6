"""Pictures from wherever they lie: folders as people keep them, archives, lists, addresses."""

import io
import json
import os
import shutil
import sys
import tarfile
import threading
import unicodedata
from collections.abc import Iterator, Sequence
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs, quote, unquote, urlsplit

import aiohttp
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from ingest.pipeline import IngestReport, ingest
from ingest.sources.base import SourceError
from ingest.sources.find import find_sources
from ingest.sources.roots import Roots
from scenesearch.commands.app import app
from scenesearch.pictures.contact_sheet import SheetEntry, write_contact_sheet
from scenesearch.pictures.opening import ImageError, open_image
from scenesearch.pictures.originals import original_of
from scenesearch.store.edge import EdgeStore
from scenesearch.store.filters import HasWords, Range
from tests.conftest import COLOURS, ColourEncoder
from tests.tiny_encoder import write_tiny_encoder


@pytest.fixture
def roots(tmp_path: Path) -> Roots:
    return Roots(tmp_path / "library" / "sources.json")


def run(
    paths: Sequence[Path | str],
    store: EdgeStore,
    encoder: ColourEncoder,
    roots: Roots,
    **options: object,
) -> IngestReport:
    sources = find_sources(paths, roots=roots, **options)  # type: ignore[arg-type]
    return ingest(sources, library="photos", encoder=encoder, store=store)


def ids(store: EdgeStore) -> list[str]:
    return sorted(point.image_id for point in store.scroll("photos"))


def picture(colour: str = "red", format_: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 12), COLOURS[colour]).save(buffer, format_)
    return buffer.getvalue()


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), 1_600_000_000
            archive.addfile(info, io.BytesIO(data))
    return path


def reasons(report: IngestReport) -> dict[str, str]:
    return {reject.path.rpartition("/")[2]: reject.reason for reject in report.rejects}


# --- folders -----------------------------------------------------------------------------------


def test_a_folder_is_searched_for_pictures_by_content_where_the_name_says_nothing(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    (folder / "scan").write_bytes(picture("red", "PNG"))
    (folder / "photo.dat").write_bytes(picture("green"))
    (folder / "photo.png").write_bytes(picture("blue"))  # a JPEG by content
    (folder / "notes.txt").write_text("BM is how a bitmap begins")
    (folder / "P5").write_text("P5")
    (folder / "empty").touch()
    os.mkfifo(folder / "pipe")
    (source,) = find_sources([folder], roots=Roots())
    assert [record.image_id for record in source.records()] == ["photo.dat", "photo.png", "scan"]
    assert (source.count, source.problems) == (3, ())


def test_names_in_any_unicode_form_with_newlines_and_of_255_bytes_are_kept(
    tmp_path: Path, store: EdgeStore, colour_encoder: ColourEncoder, roots: Roots
) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    names = [
        unicodedata.normalize("NFC", "Zoë.jpg"),
        unicodedata.normalize("NFD", "Zoë.jpg"),
        "two\nlines.jpg",
        "é" * 125 + "x.jpg",  # 255 bytes
        "snow ❄️!.tar!x.jpg",
        "-.jpg",
    ]
    for name in names:
        (folder / name).write_bytes(picture())
    report = run([folder], store, colour_encoder, roots)
    assert (report.written, report.rejects) == (len(names), [])
    assert ids(store) == sorted(names)
    for point in store.scroll("photos"):
        assert original_of(point.payload["path"]).read() == picture()
    assert run([folder], store, colour_encoder, roots).skipped == len(names)


def test_links_to_folders_are_not_followed_and_said_where_they_lead_out(
    photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (photos / "loop").symlink_to(photos, target_is_directory=True)
    (photos / "in").symlink_to(photos / "trip", target_is_directory=True)
    (photos / "out").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (photos / "self").symlink_to("self")
    (photos / "linked.jpg").symlink_to(photos / "red.jpg")
    (source,) = find_sources([photos], roots=Roots())
    found = [record.image_id for record in source.records()]
    assert len(found) == 7
    assert "linked.jpg" in found
    assert [(problem.where, problem.reason.split(";")[0]) for problem in source.problems] == [
        (str(photos / "out"), "a link to a folder is not followed")
    ]


def test_an_unreadable_folder_is_a_problem_and_the_rest_is_found(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("trip"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)  # root may read every folder
    (source,) = find_sources([photos], roots=Roots())
    assert source.count == 3
    assert [problem.reason for problem in source.problems] == [
        "folder cannot be read: Permission denied"
    ]


def test_hidden_things_and_thumbnails_of_network_storage_are_passed_over(photos: Path) -> None:
    for name in (".hidden.jpg", "._red.jpg", "@eaDir/x.jpg", ".cache/y.jpg"):
        (photos / name).parent.mkdir(exist_ok=True)
        shutil.copy(photos / "red.jpg", photos / name)
    (source,) = find_sources([photos], roots=Roots())
    assert (source.count, source.problems) == (6, ())


def test_a_raw_file_beside_its_rendered_picture_is_passed_over(tmp_path: Path) -> None:
    for name in ("a.NEF", "a.jpg", "b.nef", "c.dng", "C.HEIC"):
        (tmp_path / name).touch()
    (source,) = find_sources([tmp_path], roots=Roots())
    assert [record.image_id for record in source.records()] == ["C.HEIC", "a.jpg", "b.nef"]


# --- archives ----------------------------------------------------------------------------------


def test_pictures_of_an_archive_are_found_with_what_lies_beside_them(
    tmp_path: Path, store: EdgeStore, colour_encoder: ColourEncoder, roots: Roots
) -> None:
    about = {"tags": ["cold"], "stars": 4, "width": 9, "seen": "2021-05-01", "n": "word"}
    shard = write_tar(
        tmp_path / "shards" / "train-0.tar",
        {
            "0001.jpg": picture("red"),
            "0001.txt": b"a red field\n",
            "0001.cls": b"7",
            "sub/0002.dat": picture("blue", "PNG"),
            "sub/0002.json": json.dumps(about).encode(),
            "0003.json": b"{nonsense",
            "readme.md": b"hello",
            "../0004.jpg": picture(),
        },
    )
    report = run([shard.parent], store, colour_encoder, roots)
    assert (report.seen, report.written) == (2, 2)
    assert reasons(report) == {
        "train-0.tar!0003.json": "is not JSON",
        "0004.jpg": "the name leads out of the archive",
    }
    assert ids(store) == ["train-0.tar/0001.jpg", "train-0.tar/sub/0002.dat"]
    (red,) = store.scroll("photos", where=(HasWords("captions", "field"),))
    assert (red.payload["path"], red.payload["cls"]) == (f"{shard}!0001.jpg", 7)
    (blue,) = store.scroll("photos", where=(Range("stars", at_least=4),))
    assert (blue.payload["tags"], blue.payload["width"]) == (["cold"], 16)
    assert blue.payload["folder"] == ["train-0.tar", "train-0.tar/sub"]
    assert blue.payload["seen"].startswith("2021-05-01")


def test_an_unchanged_archive_is_skipped_and_a_rewritten_one_encodes_only_what_is_new(
    tmp_path: Path, store: EdgeStore, colour_encoder: ColourEncoder, roots: Roots
) -> None:
    members = {"1.jpg": picture("red"), "2.jpg": picture("green")}
    shard = write_tar(tmp_path / "a.tar", members)
    run([shard], store, colour_encoder, roots)
    assert run([shard], store, colour_encoder, roots).skipped == 2
    write_tar(shard, members | {"3.jpg": picture("blue")})
    os.utime(shard, (10, 10))
    report = run([shard], store, colour_encoder, roots)
    assert (report.written, report.encoded, report.reused) == (3, 1, 2)


def test_a_damaged_archive_gives_what_it_can_and_says_so(
    tmp_path: Path, store: EdgeStore, colour_encoder: ColourEncoder, roots: Roots
) -> None:
    whole = write_tar(tmp_path / "w.tar", {f"{n}.bmp": picture("red", "BMP") for n in range(3)})
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "cut.tar").write_bytes(whole.read_bytes()[:1900])
    (tmp_path / "s" / "none.tar").write_bytes(b"not an archive, whatever its name says")
    (tmp_path / "s" / "ok.jpg").write_bytes(picture())
    report = run([tmp_path / "s"], store, colour_encoder, roots)
    assert ids(store) == ["cut.tar/0.bmp", "ok.jpg"]
    assert {name: reason.split(":")[0] for name, reason in reasons(report).items()} == {
        "cut.tar": "damaged archive",
        "none.tar": "damaged or no tar archive",
    }


def test_a_compressed_archive_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").touch()
    with pytest.raises(SourceError, match="decompress it to"):
        find_sources([tmp_path / "a.tar.gz"], roots=Roots())


# --- lists -------------------------------------------------------------------------------------


def test_paths_on_standard_input_are_ingested_under_the_ids_of_their_folder(
    photos: Path, store: EdgeStore, colour_encoder: ColourEncoder, roots: Roots
) -> None:
    lines = f"{photos}/trip/white.jpg\r\n\n{photos}/red.jpg\n{photos}/none.jpg\n{photos}\n"
    report = run(["-"], store, colour_encoder, roots, listed=io.BytesIO(lines.encode()))
    assert ids(store) == ["red.jpg", "trip/white.jpg"]
    assert {reject.path: reject.reason for reject in report.rejects} == {
        f"line 4: {photos}/none.jpg": "no such file",
        f"line 5: {photos}": "is a folder; give it as an argument instead",
    }
    assert run([photos], store, colour_encoder, roots).skipped == 2


def test_a_list_that_ends_names_with_nul_may_hold_newlines_and_bytes_of_no_encoding(
    photos: Path, store: EdgeStore, colour_encoder: ColourEncoder, roots: Roots
) -> None:
    (photos / "two\nlines.jpg").write_bytes(picture())
    bad = os.fsencode(photos) + b"/\xff.jpg"
    shutil.copy(photos / "red.jpg", bad)
    listed = io.BytesIO(os.fsencode(photos / "two\nlines.jpg") + b"\0" + bad + b"\0")
    report = run(["-"], store, colour_encoder, roots, listed=listed, separator=b"\0")
    assert ids(store) == ["two\nlines.jpg"]
    assert [(reject.path, reject.reason) for reject in report.rejects] == [
        (f"line 2: {photos}/\\xff.jpg", "the name is not valid Unicode; rename the file")
    ]


def test_the_command_reads_paths_from_standard_input(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCENESEARCH_DATA_DIR", str(tmp_path / "data"))
    encoder = str(write_tiny_encoder(tmp_path / "encoder"))
    shutil.copy(photos / "red.jpg", photos / "two\nlines.jpg")
    for separator, options in (("\n", []), ("\0", ["--null"])):
        names = ["red.jpg", "trip/white.jpg"] + (["two\nlines.jpg"] if options else [])
        listed = separator.join(f"{photos}/{name}" for name in names)
        command = ["ingest", "-", *options, "--encoder", encoder, "--json"]
        done = CliRunner().invoke(app, command, input=listed)
        assert done.exit_code == 0, done.output
        report = json.loads(done.stdout)
        assert (report["seen"], report["rejected"]) == (len(names), 0)


@pytest.mark.parametrize("known", [False, True])
def test_a_list_through_a_link_names_the_pictures_of_the_folder_it_leads_to(
    photos: Path,
    store: EdgeStore,
    colour_encoder: ColourEncoder,
    roots: Roots,
    tmp_path: Path,
    known: bool,
) -> None:
    if known:
        run([photos], store, colour_encoder, roots)
    link = tmp_path / "link"
    link.symlink_to(photos, target_is_directory=True)
    listed = io.BytesIO(
        os.fsencode(link / "red.jpg") + b"\n" + os.fsencode(link / "trip/white.jpg")
    )
    report = run(["-"], store, colour_encoder, roots, listed=listed)
    assert report.rejects == []
    assert {"red.jpg", "trip/white.jpg"} <= set(ids(store))
    assert (report.skipped if known else report.written) == 2
    assert set(roots.known) == {str(photos.resolve())}


def test_an_empty_list_and_an_endless_line_are_one_sentence() -> None:
    with pytest.raises(SourceError, match="names no pictures"):
        find_sources(["-"], roots=Roots(), listed=io.BytesIO(b"\n\n"))
    with pytest.raises(SourceError, match="longer than any path"):
        find_sources(["-"], roots=Roots(), listed=io.BytesIO(b"x" * 300_000))


# --- addresses ---------------------------------------------------------------------------------


class _Listing(SimpleHTTPRequestHandler):
    asked: ClassVar[list[str]] = []

    def log_message(self, format: str, *args: object) -> None:
        self.asked.append(f"{self.command} {self.path}")


class _Bucket(BaseHTTPRequestHandler):
    """As much of S3 as a reader needs: ListObjectsV2, HEAD, GET with ranges."""

    objects: ClassVar[dict[str, bytes]] = {}
    asked: ClassVar[list[str]] = []

    def log_message(self, format: str, *args: object) -> None:
        self.asked.append(f"{self.command} {self.path}")

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        key = unquote(parts.path).removeprefix("/bucket").lstrip("/")
        if not key:
            self._answer(200, self._listing(parse_qs(parts.query)), {})
        elif key in self.objects:
            data, status = self.objects[key], 200
            if self.headers.get("Range"):
                start, _, end = self.headers["Range"].removeprefix("bytes=").partition("-")
                data, status = data[int(start) : int(end or 10**9) + 1], 206
            self._answer(status, data, {"ETag": f'"{hash(self.objects[key]):x}"'})
        else:
            self._answer(404, b"", {})

    def _listing(self, query: dict[str, list[str]]) -> bytes:
        prefix = query.get("prefix", [""])[0]
        entries, folders = [], set()
        for key, data in sorted(self.objects.items()):
            if not key.startswith(prefix):
                continue
            rest = key[len(prefix) :]
            if "/" in rest and query.get("delimiter"):
                folders.add(prefix + rest.partition("/")[0] + "/")
            else:
                entries.append(
                    f"<Contents><Key>{key}</Key><LastModified>2021-05-01T10:00:00.000Z"
                    f"</LastModified><ETag>&quot;{hash(data):x}&quot;</ETag>"
                    f"<Size>{len(data)}</Size></Contents>"
                )
        prefixes = "".join(
            f"<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>" for name in sorted(folders)
        )
        return (
            '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>bucket</Name><IsTruncated>false</IsTruncated>{''.join(entries)}{prefixes}"
            "</ListBucketResult>"
        ).encode()

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Last-Modified", "Sat, 01 May 2021 10:00:00 GMT")
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class _GoogleBucket(_Bucket):
    """As much of Google's storage as a reader needs."""

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        key = unquote(parts.path.partition("/b/bucket/o")[2]).lstrip("/")
        if not key:
            prefix = query.get("prefix", [""])[0]
            names = [name for name in self.objects if name.startswith(prefix)]
            rest = {name: name[len(prefix) :].partition("/") for name in names}
            folders = {prefix + rest[name][0] + "/" for name in names if rest[name][1]}
            files = [self._about(name) for name in names if not rest[name][1]]
            self._json({"items": files, "prefixes": sorted(folders)})
        elif key not in self.objects:
            self._answer(404, b"{}", {"Content-Type": "application/json"})
        elif "alt" in query:
            start, _, end = self.headers.get("Range", "bytes=0-")[6:].partition("-")
            self._answer(200, self.objects[key][int(start) : int(end or 10**9) + 1], {})
        else:
            self._json(self._about(key))

    def _about(self, key: str) -> dict[str, str]:
        link = f"http://{self.headers['Host']}/download/storage/v1/b/bucket/o/{quote(key, '')}"
        return {
            "name": key,
            "bucket": "bucket",
            "size": str(len(self.objects[key])),
            "updated": "2021-05-01T10:00:00.000Z",
            "etag": f"{hash(self.objects[key]):x}",
            "mediaLink": f"{link}?alt=media",
        }

    def _json(self, value: object) -> None:
        self._answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})


def serve(handler: object) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)  # type: ignore[arg-type]
    threading.Thread(target=partial(server.serve_forever, 0.02), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def web(photos: Path) -> Iterator[str]:
    """A web server that lists the folder of photos."""
    _Listing.asked.clear()
    yield from serve(partial(_Listing, directory=str(photos)))


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[_Bucket]]:
    """The real s3fs client over a bucket on this machine."""
    pytest.importorskip("s3fs", reason="needs the extra 'remote'")
    from scenesearch.pictures.originals import _file_system

    _Bucket.objects = {}
    _Bucket.asked.clear()
    for url in serve(_Bucket):
        for name, value in {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_EC2_METADATA_DISABLED": "true",
        }.items():
            monkeypatch.setenv(name, value)
        _file_system.cache_clear()
        yield _Bucket
    _file_system.cache_clear()


def test_a_web_listing_is_walked_and_an_unchanged_picture_not_fetched_again(
    web: str, photos: Path, store: EdgeStore, colour_encoder: ColourEncoder, roots: Roots
) -> None:
    (photos / "a b%.jpg").write_bytes(picture())
    (photos / "bare").write_bytes(picture("black", "PNG"))
    (photos / "note.txt").write_text("no picture")
    report = run([f"{web}/"], store, colour_encoder, roots)
    assert (report.written, report.rejects) == (8, [])
    assert {"a b%.jpg", "bare", "trip/white.jpg"} <= set(ids(store))
    (white,) = store.retrieve("photos", ["trip/white.jpg"]).values()
    assert white.payload["path"] == f"{web}/trip/white.jpg"
    assert original_of(white.payload["path"]).read() == (photos / "trip/white.jpg").read_bytes()
    _Listing.asked.clear()
    assert run([f"{web}/"], store, colour_encoder, roots).skipped == 8
    fetched = [line for line in _Listing.asked if line.startswith("GET") and "jpg" in line]
    assert fetched == []


def test_an_archive_and_a_single_picture_at_an_address(
    web: str, photos: Path, store: EdgeStore, colour_encoder: ColourEncoder, roots: Roots
) -> None:
    write_tar(photos / "s.tar", {"1.jpg": picture("red"), "1.txt": b"a red one", "x.md": b"-"})
    urls = [f"{web}/s.tar", f"{web}/trip/black.jpg"]
    assert run(urls, store, colour_encoder, roots).written == 2
    packed = store.retrieve("photos", ["s.tar/1.jpg"])["s.tar/1.jpg"].payload
    assert (packed["path"], packed["captions"]) == (f"{web}/s.tar!1.jpg", ["a red one"])
    _Listing.asked.clear()
    assert run(urls, store, colour_encoder, roots).skipped == 2
    assert not any(line.startswith("GET") for line in _Listing.asked)


def test_an_archive_whose_connection_breaks_is_told_and_read_again_by_the_next_run(
    bucket: type[_Bucket],
    store: EdgeStore,
    colour_encoder: ColourEncoder,
    roots: Roots,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shard = write_tar(tmp_path / "s.tar", {f"{n}.jpg": picture("red") for n in range(3)})
    bucket.objects = {"s.tar": shard.read_bytes(), "one.jpg": picture("blue")}

    def break_off(file: object) -> Iterator[tuple[str, object]]:
        raise aiohttp.ClientPayloadError("connection lost")
        yield

    with monkeypatch.context() as patch:
        patch.setattr("ingest.sources.archives.tar_members", break_off)
        report = run(["s3://bucket/"], store, colour_encoder, roots)
    assert reasons(report) == {"s.tar": "cannot be read: connection lost"}
    assert ids(store) == ["one.jpg"]
    assert run(["s3://bucket/"], store, colour_encoder, roots).written == 3
    bucket.asked.clear()
    assert run(["s3://bucket/"], store, colour_encoder, roots).skipped == 4
    assert not any(line.startswith("GET") and ".tar" in line for line in bucket.asked)


def test_a_bucket_of_google_is_walked(
    store: EdgeStore,
    colour_encoder: ColourEncoder,
    roots: Roots,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("gcsfs", reason="needs the extra 'remote'")
    from scenesearch.pictures.originals import _file_system

    _GoogleBucket.objects = {"lake/one.jpg": picture("blue"), "lake/deep/two": picture("red")}
    for url in serve(_GoogleBucket):
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
        _file_system.cache_clear()
        assert run(["gs://bucket/lake"], store, colour_encoder, roots).written == 2
        assert run(["gs://bucket/lake"], store, colour_encoder, roots).skipped == 2
        (one,) = store.retrieve("photos", ["one.jpg"]).values()
        assert original_of(one.payload["path"]).read() == picture("blue")
        assert one.payload["path"] == "gs://bucket/lake/one.jpg"
    _file_system.cache_clear()


def test_a_bucket_is_walked_with_what_its_listing_tells(
    bucket: type[_Bucket], store: EdgeStore, colour_encoder: ColourEncoder, roots: Roots
) -> None:
    bucket.objects = {
        "lake/one.jpg": picture("blue"),
        "lake/deep/two.png": picture("red", "PNG"),
        "lake/broken.jpg": b"nothing of the kind",
        "other/three.jpg": picture("green"),
    }
    report = run(["s3://bucket/lake"], store, colour_encoder, roots)
    assert ids(store) == ["deep/two.png", "one.jpg"]
    assert reasons(report) == {"broken.jpg": "not a picture, or of an unknown format"}
    (one,) = store.retrieve("photos", ["one.jpg"]).values()
    assert one.payload["path"] == "s3://bucket/lake/one.jpg"
    assert one.payload["modified"].startswith("2021-05-01T10:00:00")
    bucket.asked.clear()
    assert run(["s3://bucket/lake/"], store, colour_encoder, roots).skipped == 2
    assert [line for line in bucket.asked if "one.jpg" in line] == []
    bucket.objects["lake/one.jpg"] = picture("yellow")
    assert run(["s3://bucket/lake"], store, colour_encoder, roots).encoded == 1


def test_an_address_that_does_not_answer_is_one_sentence(web: str) -> None:
    for url in (f"{web}/none/", f"{web}/none.jpg", "http://127.0.0.1:9/"):
        with pytest.raises(SourceError, match=r"no such file|cannot be read"):
            find_sources([url], roots=Roots())


def test_an_address_without_the_extra_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    from scenesearch.pictures.originals import _file_system

    _file_system.cache_clear()
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(SourceError, match=r"pip install -e '\.\[remote\]'"):
        find_sources(["s3://bucket/x"], roots=Roots())
    with pytest.raises(ImageError, match="needs the extra 'remote'"):
        open_image(original_of("https://example.invalid/a.jpg"))
    _file_system.cache_clear()


def test_answers_show_pictures_out_of_archives(
    tmp_path: Path, store: EdgeStore, colour_encoder: ColourEncoder, roots: Roots
) -> None:
    shard = write_tar(tmp_path / "a.tar", {"1.jpg": picture("red")})
    run([shard], store, colour_encoder, roots)
    (point,) = store.scroll("photos")
    original = original_of(point.payload["path"])
    entries = [SheetEntry(original, "1"), SheetEntry(original_of(f"{shard}!none"), "2")]
    write_contact_sheet(tmp_path / "sheet.png", "red", entries)
    with Image.open(tmp_path / "sheet.png") as sheet:
        pixels = np.asarray(sheet.convert("RGB"))
    assert ((pixels[..., 0] > 200) & (pixels[..., 1] < 60)).sum() > 100


def test_links_of_a_hostile_listing_lead_nowhere(
    tmp_path: Path, store: EdgeStore, colour_encoder: ColourEncoder, roots: Roots
) -> None:
    page = """<a href="../up.jpg">u</a><a href="%2e%2e/up.jpg">u</a><a href="a/../../up.jpg">u</a>
    <a href="http://example.invalid/x.jpg">e</a><a href="file:///etc/x.jpg">f</a>
    <a href="?C=M;O=A">sort</a><a href="again/">again</a><a href="gone.jpg">gone</a>
    <a href="/set/ok.jpg">ok</a>"""

    class Hostile(_Listing):
        def do_GET(self) -> None:
            found = self.path.endswith("ok.jpg")
            body = picture() if found else page.encode()
            self.send_response(404 if "gone" in self.path or "up.jpg" in self.path else 200)
            self.send_header("Content-Type", "image/jpeg" if found else "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815

    for url in serve(Hostile):
        report = run([f"{url}/set/"], store, colour_encoder, roots)
    assert "ok.jpg" in ids(store)
    assert not any("up.jpg" in reject.path or "invalid" in reject.path for reject in report.rejects)
    assert any("deep are left out" in reject.reason for reject in report.rejects)
