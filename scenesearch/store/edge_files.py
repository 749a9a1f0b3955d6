"""The folder of the embedded home: collections, their specifications, aliases, locks.

    <root>/collections/<name>/collection.json, shard/
    <root>/aliases/<alias>/CURRENT
    <root>/locks/<name>.lock, <name>.holder.json, <name>.queue/, and the same of <name>.work

Reading any of it needs no lock. A collection is there once its finished folder has been renamed
into place; names with a leading dot are work in progress that a crash may leave behind. Locks
live outside the collections, so that a folder can be replaced while its lock is held.
"""

import json
import os
import secrets
import shutil
from pathlib import Path

from scenesearch.errors import obstacle
from scenesearch.runtime.files import open_private, private_folder
from scenesearch.store.base import CollectionMissing, CollectionSpec, StoreError, check_name


class EdgeFiles:
    """Where everything lies under one root; touches no shard."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._collections = root / "collections"
        self._aliases = root / "aliases"
        self._locks = root / "locks"

    def folder(self, collection: str) -> Path:
        """The folder of a collection, there or not."""
        return self._collections / check_name(collection)

    def shard(self, collection: str) -> Path:
        """The folder of a collection's engine."""
        return self.folder(collection) / "shard"

    def lock(self, collection: str) -> Path:
        """The lock file of a collection, there or not."""
        return self._locks / f"{check_name(collection)}.lock"

    def work_lock(self, collection: str) -> Path:
        """The lock file of whoever changes a collection step by step, its folder made."""
        return self.lock(collection).with_suffix(".work.lock")

    def exists(self, collection: str) -> bool:
        return (self.folder(collection) / "collection.json").is_file()

    def collections(self) -> list[str]:
        if not self._collections.is_dir():
            return []
        return sorted(
            path.name
            for path in self._collections.iterdir()
            if path.name[0] != "." and (path / "collection.json").is_file()
        )

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
        write_atomically(folder / "collection.json", text)

    def workshop(self, collection: str) -> Path:
        """An empty folder to build a collection in; whoever calls holds its lock."""
        folder = self._collections / f".new-{check_name(collection)}"
        shutil.rmtree(folder, ignore_errors=True)
        return private_folder(folder)

    def publish(self, workshop: Path, collection: str) -> None:
        """Give the finished folder its name; one without a specification is in nobody's use."""
        shutil.rmtree(self.folder(collection), ignore_errors=True)
        workshop.replace(self.folder(collection))
        _sync_folder(self._collections)

    def remove(self, collection: str) -> None:
        """Delete a collection's aliases and folder, in an order that a crash cannot twist."""
        for alias, target in self.aliases().items():
            if target == collection:
                shutil.rmtree(self._aliases / alias)
        waste = self._collections / f".old-{collection}"
        shutil.rmtree(waste, ignore_errors=True)
        self.folder(collection).replace(waste)
        shutil.rmtree(waste, ignore_errors=True)

    def aliases(self) -> dict[str, str]:
        """Alias -> collection; one that points nowhere is left out."""
        if not self._aliases.is_dir():
            return {}
        found = ((path.name, self._target(path.name)) for path in sorted(self._aliases.iterdir()))
        return {alias: target for alias, target in found if target and self.exists(target)}

    def dangling(self) -> list[str]:
        """Aliases that lead to no collection."""
        if not self._aliases.is_dir():
            return []
        there = self.aliases()
        return sorted(path.name for path in self._aliases.iterdir() if path.name not in there)

    def unfinished(self) -> list[Path]:
        """Folders of collections that are being made or deleted, or were when it was stopped."""
        if not self._collections.is_dir():
            return []
        return sorted(
            path for path in self._collections.iterdir() if path.name.startswith((".new-", ".old-"))
        )

    def holders(self) -> list[Path]:
        """The notes of who has a lock, or had one when it died."""
        return sorted(self._locks.glob("*.holder.json"))

    def point_alias(self, alias: str, collection: str) -> None:
        folder = self._aliases / check_name(alias)
        private_folder(folder)
        write_atomically(folder / "CURRENT", collection + "\n")

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


def read_all(folder: Path) -> None:
    """Read every file below the folder once; raises the OSError of one that cannot be."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                while file.read(2**20):
                    pass


def write_atomically(path: Path, text: str) -> None:
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
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows has no way to open a folder
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
