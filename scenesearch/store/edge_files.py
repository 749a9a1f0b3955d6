"""The folder of the embedded home: collections, their specifications, aliases, locks.

    <root>/collections/<name>/collection.json, shard/
    <root>/aliases/<alias>/CURRENT
    <root>/locks/<name>.lock, <name>.holder.json

Reading any of it needs no lock. A collection is there once its finished folder has been renamed
into place; names with a leading dot are work in progress that a crash may leave behind. Locks
live outside the collections, so that a folder can be replaced while its lock is held.
"""

import json
import os
import secrets
import shutil
from pathlib import Path

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

    def size_bytes(self, collection: str) -> int:
        """What a collection takes of the disk, holes in its files left out."""
        files = (path for path in self.folder(collection).rglob("*") if path.is_file())
        return sum(
            getattr(path.stat(), "st_blocks", 0) * 512 or path.stat().st_size for path in files
        )

    def lock(self, collection: str) -> Path:
        """The lock file of a collection, its folder made."""
        self._locks.mkdir(parents=True, exist_ok=True)
        return self._locks / f"{check_name(collection)}.lock"

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
            raise StoreError(f"{path} is damaged ({error}); ingest the library again") from error

    def write_spec(self, folder: Path, spec: CollectionSpec) -> None:
        text = json.dumps(spec.to_json(), indent=1, ensure_ascii=False)
        write_atomically(folder / "collection.json", text)

    def workshop(self, collection: str) -> Path:
        """An empty folder to build a collection in; whoever calls holds its lock."""
        folder = self._collections / f".new-{check_name(collection)}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

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
        folder.mkdir(parents=True, exist_ok=True)
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
        known = sorted({*self.aliases(), *self.collections()})
        there = f"there are: {', '.join(known[:12])}" if known else "there are none yet"
        return CollectionMissing(f"no collection or alias {name!r}; {there}")

    def _target(self, alias: str) -> str | None:
        try:
            return check_name((self._aliases / alias / "CURRENT").read_text().strip())
        except (OSError, ValueError, StoreError):
            return None


def write_atomically(path: Path, text: str, *, durable: bool = True) -> None:
    """Replace the file's content; a reader or a crash sees the old text or the new one."""
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    try:
        with temporary.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows has no way to open a folder
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
