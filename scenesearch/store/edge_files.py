"""The folder of the embedded home: collections with their specifications, aliases and locks.

    <root>/collections/<name>/collection.json, shard/, version
    <root>/aliases/<alias>/CURRENT
    <root>/locks/<name>.lock, <name>.holder.json, <name>.queue/, and the same of <name>.work

Reading any of it needs no lock. A collection exists once its finished folder has been renamed into
place; names with a leading dot are work in progress, which a crash may leave behind. Locks lie
outside the collections, so that a folder can be replaced while its lock is held.
"""

import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scenesearch.errors import obstacle
from scenesearch.runtime.files import open_private, private_folder
from scenesearch.store.base import CollectionMissing, CollectionSpec, StoreError, check_name

_VERSION = "version"


class EdgeFiles:
    """Where everything is under one root; opens no shard."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._collections = root / "collections"
        self._aliases = root / "aliases"
        self._locks = root / "locks"

    def folder(self, collection: str) -> Path:
        """The folder of a collection, whether it exists or not."""
        return self._collections / check_name(collection)

    def shard(self, collection: str) -> Path:
        """The folder of a collection's engine."""
        return self.folder(collection) / "shard"

    def lock(self, collection: str) -> Path:
        """The lock file of a collection, whether it exists or not."""
        return self._locks / f"{check_name(collection)}.lock"

    def work_lock(self, collection: str) -> Path:
        """The lock file for changing a collection in steps."""
        return self.lock(collection).with_suffix(".work.lock")

    def exists(self, collection: str) -> bool:
        return (self.folder(collection) / "collection.json").is_file()

    def collections(self) -> list[str]:
        return [
            path.name
            for path in _children(self._collections)
            if path.name[0] != "." and (path / "collection.json").is_file()
        ]

    def spec(self, collection: str) -> CollectionSpec:
        """What a collection recorded; raises CollectionMissing."""
        path = self.folder(collection) / "collection.json"
        try:
            return CollectionSpec.from_json(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise self.missing(collection) from None
        except (ValueError, RecursionError) as error:
            if obstacle(error):
                raise
            raise StoreError(
                f"{path} is damaged ({error}); copy {path.parent} elsewhere first, then delete it "
                "and restore a backup or ingest the library again"
            ) from error

    def write_spec(self, folder: Path, spec: CollectionSpec) -> None:
        text = json.dumps(spec.to_json(), indent=1, ensure_ascii=False)
        _write_atomically(folder / "collection.json", text)

    def version(self, collection: str) -> str:
        """What `changing` wrote last; '' for a collection that was never written."""
        try:
            return (self.folder(collection) / _VERSION).read_text(encoding="ascii")
        except (FileNotFoundError, ValueError):
            return ""

    @contextmanager
    def changing(self, folder: Path) -> Iterator[None]:
        """Give the collection in this folder another version, before and after a write.

        Before, because a process may be killed between the write and the end of the block. After,
        because another thread may read what was there before under the new version.
        """
        _write_version(folder)
        try:
            yield
        finally:
            _write_version(folder)

    def new_folder(self, collection: str) -> Path:
        """An empty folder to build a collection in; the caller has its lock."""
        folder = self._collections / f".new-{check_name(collection)}"
        shutil.rmtree(folder, ignore_errors=True)
        return private_folder(folder)

    def publish(self, folder: Path, collection: str) -> None:
        """Give the finished folder its name; a folder there without a specification is unused."""
        shutil.rmtree(self.folder(collection), ignore_errors=True)
        folder.replace(self.folder(collection))
        sync(self._collections)

    def remove(self, collection: str) -> None:
        """Delete a collection's aliases and folder, in an order that is safe in a crash."""
        for alias, target in self.aliases().items():
            if target == collection:
                shutil.rmtree(self._aliases / alias)
        old = self._collections / f".old-{collection}"
        shutil.rmtree(old, ignore_errors=True)
        self.folder(collection).replace(old)
        shutil.rmtree(old, ignore_errors=True)

    def aliases(self) -> dict[str, str]:
        """Alias -> collection, without aliases that lead nowhere."""
        found = ((path.name, self._target(path.name)) for path in _children(self._aliases))
        return {alias: target for alias, target in found if target and self.exists(target)}

    def dangling(self) -> list[str]:
        """Aliases that lead to no collection."""
        valid = self.aliases()
        return [path.name for path in _children(self._aliases) if path.name not in valid]

    def unfinished(self) -> list[Path]:
        """Folders of collections whose creation or deletion goes on, or was stopped."""
        return [
            path
            for path in _children(self._collections)
            if path.name.startswith((".new-", ".old-"))
        ]

    def holders(self) -> list[Path]:
        """The notes of processes that have a lock, or had one when they died."""
        return sorted(self._locks.glob("*.holder.json"))

    def point_alias(self, alias: str, collection: str) -> None:
        folder = self._aliases / check_name(alias)
        private_folder(folder)
        _write_atomically(folder / "CURRENT", collection + "\n")

    def resolve(self, name: str) -> str:
        """The collection that a collection's or alias's name stands for."""
        if self.exists(name):
            return name
        target = self._target(name)
        if target and self.exists(target):
            return target
        raise self.missing(name)

    def missing(self, name: str) -> CollectionMissing:
        return CollectionMissing(name, self.aliases() or self.collections())

    def _target(self, alias: str) -> str | None:
        try:
            return check_name((self._aliases / alias / "CURRENT").read_text().strip())
        except (FileNotFoundError, NotADirectoryError, ValueError, StoreError):
            return None


def _write_version(folder: Path) -> None:
    """Not synced: after a power failure it may be the old one, and so may the points."""
    with open(folder / _VERSION, "w", encoding="ascii", opener=open_private) as file:
        file.write(secrets.token_hex(8))


def _children(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _write_atomically(path: Path, text: str) -> None:
    """Replace the file's content; a reader or a crash sees the old text or the new one."""
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    try:
        with open(temporary, "x", encoding="utf-8", opener=open_private) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


def sync(path: Path) -> None:
    """Make a file or folder safe against power loss."""
    if os.name == "nt":  # Windows cannot open a folder
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
