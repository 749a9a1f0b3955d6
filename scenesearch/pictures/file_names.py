"""Names of files that come from strangers, made harmless on every system."""

import re
import unicodedata
from pathlib import PurePath

# In bytes of UTF-8: file systems allow 255, and a number or a suffix of ours may be added.
MAX_NAME_BYTES = 120
_MAX_SUFFIX_BYTES = 20

_UNSAFE = re.compile(r"[^\w .()+,@&=-]")
# Names that Windows reserves for devices, whatever their suffix.
_DEVICE = re.compile(r"(con|prn|aux|nul|(com|lpt)[\d¹²³])(\..*)?", re.I)


def safe_name(name: str) -> str:
    """The file's own name without folders and special characters, and not too long."""
    name = unicodedata.normalize("NFC", name).replace("\\", "/").rpartition("/")[2]
    name = _UNSAFE.sub("_", name).strip(" .")
    stem, dot, suffix = name.rpartition(".")
    stem, suffix = (stem, f".{suffix.lower()}") if dot else (name, "")
    suffix = _cut(suffix, _MAX_SUFFIX_BYTES)
    stem = _cut(stem.strip(" ."), MAX_NAME_BYTES - len(suffix.encode())).strip(" .") or "picture"
    name = f"{stem}{suffix}".rstrip(" .")
    return f"_{name}" if _DEVICE.fullmatch(name) else name


def _cut(text: str, max_bytes: int) -> str:
    return text.encode()[:max_bytes].decode(errors="ignore")


def unique_name(name: str, names: set[str]) -> str:
    """The safe name, numbered if it is taken; adds it to the names."""
    path = PurePath(safe_name(name))
    found, number = path.name, 1
    while found.casefold() in names:
        number += 1
        found = f"{path.stem}-{number}{path.suffix}"
    names.add(found.casefold())
    return found
