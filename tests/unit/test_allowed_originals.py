"""Which originals are opened: below what was ingested here, whatever a payload claims."""

import hashlib
import json
from pathlib import Path

import pytest

from ingest.source import Roots, SourceError
from scenesearch.home.allowed_originals import AllowedOriginals, Elsewhere
from scenesearch.home.installation import Installation
from scenesearch.home.roots import Root, RootsError, read_roots
from scenesearch.home.settings import Settings
from scenesearch.pictures.originals import LocalFile, OriginalError, RemoteFile, TarMember


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An ingested folder with a picture, links that lead out of it, and a victim beside it."""
    folder = tmp_path / "photos"
    (folder / "trip").mkdir(parents=True)
    (folder / "trip" / "a!b.jpg").write_bytes(b"a picture")
    (folder / "a.tar").write_bytes(b"")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "victim.jpg").write_bytes(b"a secret")
    (tmp_path / "outside" / "v.tar").write_bytes(b"")
    (folder / "away").symlink_to(tmp_path / "outside", target_is_directory=True)
    (folder / "link.jpg").symlink_to(tmp_path / "outside" / "victim.jpg")
    return folder


def test_what_lies_in_a_root_is_opened(folder: Path) -> None:
    known = AllowedOriginals([str(folder), "s3://bucket/trip", "https://example.org"])
    assert known.at(f"{folder}/trip/a!b.jpg").read() == b"a picture"
    assert known.at(f"{folder}/trip/../trip/a!b.jpg").read() == b"a picture"
    assert isinstance(known.at(f"{folder}/gone.jpg"), LocalFile)
    assert isinstance(known.at(f"{folder}/a.tar!x/y.jpg"), TarMember)
    assert isinstance(known.at("s3://bucket/trip/a.jpg"), RemoteFile)
    assert isinstance(known.at("https://example.org/img.php?of=a/../b"), RemoteFile)
    assert isinstance(known.at("s3://bucket/trip/x.tar!a.jpg"), TarMember)


@pytest.mark.parametrize(
    "path",
    [
        "{0}/../outside/victim.jpg",
        "{0}/away/victim.jpg",
        "{0}/away/../outside/victim.jpg",
        "{0}/away/v.tar!x.jpg",
        "{0}x/a.jpg",
        "{0}/../outside/v.tar!x.jpg",
        "{0}",
        "photos/trip/a!b.jpg",
        "/etc/passwd",
        "",
        "{0}/a\0.jpg",
        "/" + "x" * 70_000,
        "s3://bucket/tripped/a.jpg",
        "s3://bucket/trip/../b.jpg",
        "s3://bucket/trip/%2e%2e/b.jpg",
        "s3://bucket/trip/..\\b.jpg",
        "s3://other/trip/a.jpg",
        "https://example.org@evil.example/a.jpg",
        "https://example.org.evil.example/a.jpg",
        "http://example.org/a.jpg",
        "https://evil.example/x.tar!https://example.org/a.jpg",
        "file:///etc/passwd",
    ],
)
def test_what_lies_outside_the_roots_is_never_opened(folder: Path, path: str) -> None:
    known = AllowedOriginals([str(folder), "s3://bucket/trip", "https://example.org", "https:/"])
    original = known.original({"path": path.format(folder)})
    if path == "{0}":  # the folder itself: no file
        assert isinstance(original, Elsewhere | LocalFile)
    else:
        assert isinstance(original, Elsewhere)
    for use in (original.read, original.state):
        with pytest.raises(OriginalError) as refused:
            use()
        assert not refused.value.missing


def test_a_link_to_a_file_outside_shows_only_what_was_ingested(folder: Path) -> None:
    known = AllowedOriginals([str(folder)])
    content = hashlib.sha256(b"a secret").hexdigest()
    path = str(folder / "link.jpg")
    assert known.original({"path": path, "sha256": content}).read(2, 3) == b"sec"
    with pytest.raises(OriginalError, match="not here"):
        known.original({"path": path, "sha256": "ab" * 32}).read()


def test_a_root_that_is_a_link_is_followed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "moved").symlink_to(folder, target_is_directory=True)
    assert AllowedOriginals([str(tmp_path / "moved")]).at(f"{tmp_path}/moved/trip/a!b.jpg").read()
    assert AllowedOriginals([str(tmp_path / "moved")]).at(f"{folder}/trip/a!b.jpg").read()


def settings_of(tmp_path: Path, **sources: object) -> Settings:
    for library, document in sources.items():
        file = tmp_path / "data" / "libraries" / library / "sources.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(document))
    return Settings(data_dir=tmp_path / "data")


def test_an_installation_opens_what_any_of_its_libraries_was_filled_from(
    folder: Path, tmp_path: Path
) -> None:
    settings = settings_of(tmp_path, one={str(folder): ""}, two={}, broken=["/"])
    path = str(folder / "trip" / "a!b.jpg")
    assert Installation(settings).originals.allows(path)
    (tmp_path / "data" / "libraries" / "one" / "sources.json").write_text("{}")
    assert not Installation(settings).originals.allows(path)
    adding = settings.model_copy(update={"originals": f"s3://b, {folder}"})
    assert Installation(adding).originals.allows(path)


def test_a_root_of_a_backup_opens_nothing_until_it_is_ingested(
    folder: Path, tmp_path: Path
) -> None:
    restored = {str(tmp_path): {"prefix": "", "restored": True}}
    settings = settings_of(tmp_path, photos=restored)
    path = str(folder / "trip" / "a!b.jpg")
    assert not Installation(settings).originals.allows(path)
    roots = Roots(settings.library_dir("photos") / "sources.json")
    before = roots.image_id(path)
    roots.add(folder)
    assert Roots(settings.library_dir("photos") / "sources.json").image_id(path) == before
    assert Installation(settings).originals.allows(path)
    assert not Installation(settings).originals.allows(str(tmp_path / "outside" / "victim.jpg"))


def test_ingesting_a_restored_root_itself_keeps_its_ids(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "sources.json"
    file.write_text(json.dumps({str(folder): {"prefix": "old/", "restored": True}}))
    roots = Roots(file)
    assert not roots.knows(folder / "a.jpg")
    roots.add(folder)
    assert roots.image_id(folder / "a.jpg") == "old/a.jpg"
    assert read_roots(file) == {str(folder): Root("old/")}


@pytest.mark.parametrize(
    "document",
    [
        "[]", "5", '"x"', '{"/a": 1}', '{"/a": null}', '{"a": ""}', '{"/a": "x"}', '{"/a": "../"}',
        '{"/a": "/"}', '{"/a": "a//"}', '{"/a": {"prefix": 3}}', '{"/a\\u0000": ""}',
        '{"file:///": ""}', "[" * 100_000, "{", "\\xff",
    ],
)  # fmt: skip
def test_a_damaged_list_of_roots_is_one_sentence(tmp_path: Path, document: str) -> None:
    file = tmp_path / "sources.json"
    file.write_text(document)
    with pytest.raises(RootsError, match="is damaged") as refused:
        read_roots(file)
    assert "\n" not in str(refused.value)
    with pytest.raises(SourceError, match="is damaged"):
        Roots(file)
