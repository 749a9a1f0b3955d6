"""Where bytes of pictures lie: files, members of archives, addresses, and one string for each."""

import os
import pickle
import tarfile
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

import pytest

from scenesearch.pictures.originals import (
    MAX_FILE_BYTES,
    LocalFile,
    MemberLocation,
    OriginalError,
    RemoteFile,
    TarMember,
    original_of,
    tar_members,
)


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), 1_600_000_000
            archive.addfile(info, BytesIO(data))
    return path


def members_of(path: Path) -> dict[str, MemberLocation | str]:
    with path.open("rb") as file:
        return dict(tar_members(file))


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A web server with listings on this machine, and the folder it serves."""
    folder = tmp_path / "web"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=partial(server.serve_forever, 0.02), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", folder
    server.shutdown()
    server.server_close()


def test_a_member_of_an_archive_is_found_from_its_one_string(tmp_path: Path) -> None:
    archive = write_tar(tmp_path / "a!b.tar", {"x/1.jpg": b"first", "x/2.jpg": b"second"})
    original = original_of(f"{archive}!x/2.jpg")
    assert isinstance(original, TarMember)
    assert (original.read(), original.name) == (b"second", "2.jpg")
    assert original.read(1, 3) == b"eco"
    assert str(original) == f"{archive}!x/2.jpg"
    assert pickle.loads(pickle.dumps(original)).read() == b"second"  # noqa: S301 - our own


def test_a_file_whose_name_looks_like_a_member_is_that_file(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", {"b.jpg": b"member"})
    (tmp_path / "a.tar!b.jpg").write_bytes(b"file")
    assert original_of(f"{tmp_path}/a.tar!b.jpg").read() == b"file"


def test_a_rewritten_archive_is_another_state_of_its_members(tmp_path: Path) -> None:
    archive = write_tar(tmp_path / "a.tar", {"1.jpg": b"one"})
    before = original_of(f"{archive}!1.jpg").state()
    write_tar(archive, {"1.jpg": b"two"})
    os.utime(archive, (5, 5))
    after = original_of(f"{archive}!1.jpg").state()
    assert (before.size_bytes, before.modified) == (after.size_bytes, after.modified)
    assert before.version != after.version


@pytest.mark.parametrize("name", ["../up.jpg", "/etc/up.jpg", "a/../../up.jpg", "C:\\up.jpg"])
def test_a_member_that_leads_out_of_its_archive_is_refused(tmp_path: Path, name: str) -> None:
    archive = write_tar(tmp_path / "a.tar", {name: b"x", "good.jpg": b"y"})
    found = members_of(archive)
    assert found[name] == "the name leads out of the archive"
    assert isinstance(found["good.jpg"], MemberLocation)
    with pytest.raises(OriginalError, match="does not hold it"):
        original_of(f"{archive}!{name}").read()


def test_a_link_in_an_archive_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        link = tarfile.TarInfo("link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    assert members_of(tmp_path / "a.tar") == {
        "link.jpg": "a link or special file inside an archive is not read"
    }


def test_a_cut_archive_gives_what_comes_before_and_says_that_it_is_damaged(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "a.tar", {f"{n}.jpg": bytes(5000) for n in range(4)}).read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[:13_000])
    with (tmp_path / "cut.tar").open("rb") as file:
        members = tar_members(file)
        assert [next(members)[0] for _ in range(2)] == ["0.jpg", "1.jpg"]
        with pytest.raises(OriginalError, match="damaged"):
            list(members)


def test_an_archive_with_a_header_of_gigabytes_is_refused_without_reading_it(
    tmp_path: Path,
) -> None:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 3 << 30
    with (tmp_path / "a.tar").open("wb") as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        file.truncate(4 << 30)
    with pytest.raises(OriginalError, match="a header is too long"):
        members_of(tmp_path / "a.tar")


def test_a_fifo_and_a_folder_are_no_files_and_hang_nothing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    for path in (tmp_path / "pipe.jpg", tmp_path):
        with pytest.raises(OriginalError, match="not a regular file"):
            LocalFile(path).read()
        with pytest.raises(OriginalError, match="not a regular file"):
            LocalFile(path).state()


def test_a_file_of_two_gigabytes_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "big.jpg").open("wb") as file:
        file.truncate(2 << 30)
    with pytest.raises(OriginalError, match="2048 MiB, the limit is 512 MiB"):
        LocalFile(tmp_path / "big.jpg").read()
    assert MAX_FILE_BYTES == 512 << 20


def test_a_file_that_is_written_while_it_is_read_is_worth_another_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.jpg"
    file.write_bytes(b"first part")
    statuses = iter([file.stat()])
    real = os.fstat

    def grow_after_the_first(descriptor: int) -> os.stat_result:
        status = next(statuses, None)
        if status is not None:
            file.write_bytes(b"first part and second")
            return status
        return real(descriptor)

    monkeypatch.setattr(os, "fstat", grow_after_the_first)
    with pytest.raises(OriginalError, match="changed while it was read") as raised:
        LocalFile(file).read()
    assert raised.value.transient


def test_an_address_gives_size_age_and_bytes(web: tuple[str, Path]) -> None:
    url, folder = web
    (folder / "a b.jpg").write_bytes(b"picture")
    os.utime(folder / "a b.jpg", (1_600_000_000, 1_600_000_000))
    original = original_of(f"{url}/a%20b.jpg")
    assert isinstance(original, RemoteFile)
    state = original.state()
    assert (state.size_bytes, state.modified and state.modified.timestamp()) == (7, 1_600_000_000)
    assert (original.read(), original.read(2, 3)) == (b"picture", b"ctu")


def test_an_answer_that_comes_in_pieces_is_read_to_its_end(tmp_path: Path) -> None:
    body = bytes(range(256)) * 1000

    class Slow(_Quiet):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            for start in range(0, len(body) if self.command == "GET" else 0, 50_000):
                self.wfile.write(body[start : start + 50_000])
                self.wfile.flush()
                time.sleep(0.02)

        do_HEAD = do_GET  # noqa: N815

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Slow, directory=str(tmp_path)))
    threading.Thread(target=partial(server.serve_forever, 0.02), daemon=True).start()
    assert original_of(f"http://127.0.0.1:{server.server_port}/a.jpg").read() == body
    server.shutdown()
    server.server_close()


def test_a_member_of_an_archive_at_an_address_is_read(web: tuple[str, Path]) -> None:
    url, folder = web
    write_tar(folder / "a.tar", {"1.jpg": b"one", "2.jpg": b"two"})
    assert original_of(f"{url}/a.tar!2.jpg").read() == b"two"


def test_a_missing_page_is_final_and_a_silent_server_is_worth_another_try(
    web: tuple[str, Path],
) -> None:
    with pytest.raises(OriginalError, match="no such file") as missing:
        original_of(f"{web[0]}/none.jpg").read()
    assert not missing.value.transient
    with pytest.raises(OriginalError, match="cannot be read") as silent:
        original_of("http://127.0.0.1:9/a.jpg").read()
    assert silent.value.transient


def test_only_known_schemes_are_addresses() -> None:
    for path in ("file:///etc/passwd", "ftp://x/a.jpg", "memory://a.jpg", "http:/x/a.jpg"):
        assert isinstance(original_of(path), LocalFile)
