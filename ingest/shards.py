"""Which of several workers a picture belongs to: by a hash of its image id.

Workers of one source, each with its own shard, never write the same point and together write
all of them, whatever the order and however often each is run again.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from filelock import FileLock, Timeout

from scenesearch.errors import SceneSearchError
from scenesearch.runtime.files import FILE_MODE, private_folder

_FORM = re.compile(r"([1-9][0-9]{0,5})/([1-9][0-9]{0,5})")
_AUTO = re.compile(r"auto/([1-9][0-9]{0,2})")


class ShardError(SceneSearchError):
    """No shard has this name; the message is one sentence for the user."""


@dataclass(frozen=True)
class Shard:
    """The `number`-th of `of` shards, counted from one."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """'3/16' is the third of sixteen; raises ShardError."""
        found = _FORM.fullmatch(text.strip())
        shard = cls(int(found[1]), int(found[2])) if found else None
        if shard is None or shard.number > shard.of:
            raise ShardError(f"--shard {text}: give NUMBER/OF, from 1/16 to 16/16, or auto/16")
        return shard

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def holds(self, image_id: str) -> bool:
        """Whether the picture is this shard's; the same on every machine."""
        digest = blake2b(image_id.encode(), digest_size=8).digest()
        return int.from_bytes(digest) % self.of == self.number - 1


WHOLE = Shard(1, 1)


@contextmanager
def held_shard(text: str, folder: Path) -> Iterator[Shard]:
    """The shard that the text names, '3/16', or of 'auto/16' the first that no worker has.

    Workers that share the folder never hold the same one: it is theirs by a lock, which the
    system frees when a worker ends, however it ends. Raises ShardError.
    """
    automatic = _AUTO.fullmatch(text.strip())
    if automatic is None:
        yield Shard.parse(text)
        return
    of = int(automatic[1])
    private_folder(folder)
    for number in range(1, of + 1):
        lock = FileLock(folder / f"{number}-of-{of}.lock", mode=FILE_MODE)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            continue
        try:
            yield Shard(number, of)
        finally:
            lock.release()
        return
    raise ShardError(f"--shard {text}: all {of} shares are other workers' already")
