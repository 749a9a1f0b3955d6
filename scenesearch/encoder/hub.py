"""Fetches encoders from the Hugging Face hub, into a given folder or the hub's own cache.

    repo = look_up("Xenova/clip-vit-base-patch32")
    download(repo, ["config.json", "onnx/vision_model.onnx"], folder)

Repositories are strangers: nothing of one is run, names are checked, and sizes and hashes have to
be those that the hub declares.
"""

import fnmatch
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NoReturn

from scenesearch.encoder.base import EncoderError
from scenesearch.encoder.layouts import KNOWN

# Of a repository that has to be converted: everything that transformers may read beside weights,
# and the card for its licence.
SIDE_FILES = ("*.json", "*.txt", "*.model", "README.md")
PICKLED = "pytorch_model*.bin"  # weights in one file, or the parts of a large model
_OTHER_FRAMEWORKS = ("onnx/*", "openvino/*", "*.h5", "*.msgpack", "*_ov/*")
_OPEN_CLIP_WEIGHTS = "open_clip_*.safetensors"


class HubError(EncoderError):
    """The hub, or what it has, cannot be used; the message is one sentence for the user."""


@dataclass(frozen=True)
class RemoteFile:
    size: int
    sha256: str | None  # the hub declares it for large files
    blob_id: str | None = None  # and of the others the hash that git gives them


@dataclass(frozen=True)
class Repository:
    """A model repository at one commit."""

    repo_id: str
    sha: str
    files: dict[str, RemoteFile]
    license: str | None

    def parent(self) -> dict[str, str]:
        """What an encoder made of it records."""
        stated = {"license": self.license} if self.license else {}
        return {"base": self.repo_id, "revision": self.sha, **stated}


def look_up(repo_id: str, revision: str | None = None) -> Repository:
    """The repository at the revision (a branch, tag or commit; default: its newest commit)."""
    from huggingface_hub import HfApi

    if not re.fullmatch(r"[\w.-]{1,96}/[\w.-]{1,96}", repo_id):
        raise HubError(f"{repo_id!r} is no hub id: expected OWNER/NAME")
    try:
        info = HfApi().model_info(repo_id, revision=revision, files_metadata=True, timeout=30)
    except Exception as error:  # the hub's errors, and those of the network library below it
        _explain(error, repo_id, revision)
    files = {}
    for sibling in info.siblings or []:
        if PurePosixPath(sibling.rfilename).is_absolute() or ".." in sibling.rfilename.split("/"):
            raise HubError(f"{repo_id} has a file named {sibling.rfilename!r}: it is not taken")
        lfs = sibling.lfs
        files[sibling.rfilename] = RemoteFile(
            sibling.size or 0, lfs.sha256 if lfs else None, None if lfs else sibling.blob_id
        )
    card = info.card_data
    stated = card.get("license") if card is not None else None
    return Repository(repo_id, str(info.sha), files, stated if isinstance(stated, str) else None)


def names_to_convert(repo: Repository, *, pickled: bool = False) -> tuple[str, ...]:
    """The files that a conversion through torch needs: weights and all beside them.

    With `pickled` also weights that are no safetensors. Raises HubError when there are none.
    """
    weights = ("*.safetensors", PICKLED) if pickled else ("*.safetensors",)
    names = [name for name in repo.files if not _matches(name, _OTHER_FRAMEWORKS, whole=True)]
    of_transformers = [name for name in names if not _matches(name, (_OPEN_CLIP_WEIGHTS,))]
    if "config.json" in names and any(_matches(name, weights) for name in of_transformers):
        names = of_transformers  # the same model twice
    if not any(_matches(name, weights) for name in names):
        pickles = any(_matches(name, (PICKLED,)) for name in names)
        raise HubError(
            f"{repo.repo_id} has neither safetensors weights nor ready ONNX graphs"
            + (how_to_convert(repo.repo_id) if pickles else f"; {_what_it_has(repo)}")
        )
    return tuple(name for name in names if _matches(name, (*SIDE_FILES, *weights)))


def _what_it_has(repo: Repository) -> str:
    """Its largest files, and what would be taken, as the end of a sentence."""
    large = sorted(repo.files, key=lambda name: repo.files[name].size, reverse=True)[:3]
    found = f"its largest files are {', '.join(large)}" if large else "it has no files"
    return f"{found}; graphs are taken as {KNOWN}"


def _matches(name: str, patterns: Sequence[str], *, whole: bool = False) -> bool:
    last = name if whole else PurePosixPath(name).name
    return any(fnmatch.fnmatch(last, pattern) for pattern in patterns)


def how_to_convert(base: str) -> str:
    """What to do about weights that are no safetensors, as the end of a sentence."""
    return (
        f"; a pickle (pytorch_model.bin) is not read: `scenesearch models convert {base} FOLDER` "
        "rewrites its tensors as safetensors, then take FOLDER"
    )


def download(repo: Repository, names: Sequence[str], folder: Path | None = None) -> Path:
    """The folder with these files, each of the declared size and hash; raises HubError.

    Without a folder it is that of the commit in the hub's cache. A file that does not fit what is
    declared is deleted, so that the next call loads it again.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    for name in names:
        try:
            path = Path(hf_hub_download(repo.repo_id, name, revision=repo.sha, local_dir=folder))
        except Exception as error:  # as in look_up
            _explain(error, repo.repo_id, repo.sha)
        declared, size = repo.files[name], path.stat().st_size
        fault = ""
        if size != declared.size:
            fault = f"came with {size} bytes, the hub declares {declared.size}"
        elif not _has_hash(path, declared.sha256 or declared.blob_id or ""):
            fault = "does not have the hash that the hub declares"
        if fault:
            path.resolve().unlink()  # in the cache, `path` is a link
            path.unlink(missing_ok=True)
            raise HubError(f"{repo.repo_id}/{name} {fault}")
        if folder is None:
            cached = path.parents[len(PurePosixPath(name).parts) - 1]
    return folder or cached


def fetch_weights(repo_id: str, revision: str | None = None) -> Path:
    """What torch reads of a repository, checked, in the hub's cache; the folder is named by its
    commit.

    When the hub cannot be asked, it is what an earlier call left there. Raises HubError.
    """
    try:
        repo = look_up(repo_id, revision)
    except HubError as error:
        return _cached(repo_id, revision, error)
    return download(repo, names_to_convert(repo))


def _cached(repo_id: str, revision: str | None, error: HubError) -> Path:
    """A commit that the cache holds; `error` is raised when it holds none.

    The cache names each file by its hash, so that damage is noticed without the hub as well.
    """
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(repo_id, revision=revision, local_files_only=True))
    except (OSError, ValueError):  # nothing there; no hub id
        raise error from None
    for path in folder.rglob("*"):
        if path.is_file() and not _has_hash(path, path.resolve().name):
            raise HubError(f"{path} is damaged; delete it, and download it again")
    return folder


def _has_hash(path: Path, declared: str) -> bool:
    """Whether the file has this SHA-256, or this hash of git's; True for what is no hash."""
    if re.fullmatch(r"[0-9a-f]{64}", declared):
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == declared
    if re.fullmatch(r"[0-9a-f]{40}", declared):
        content = path.read_bytes()
        git = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False)
        return git.hexdigest() == declared
    return True


def _explain(error: Exception, repo_id: str, revision: str | None) -> NoReturn:
    from huggingface_hub import errors

    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.GatedRepoError):
        message = (
            f"{repo_id} is gated: accept its terms on its page, then log in with hf auth login"
        )
    elif isinstance(error, errors.RevisionNotFoundError):
        message = f"{repo_id} has no revision {revision}"
    elif isinstance(error, errors.RepositoryNotFoundError):
        message = f"the hub has no model {repo_id}, or it is private: log in with hf auth login"
    elif status is not None:
        message = f"the hub answers {status} for {repo_id}"
    else:
        message = f"{repo_id} cannot be had from the hub: {reason}"
    raise HubError(message) from error
