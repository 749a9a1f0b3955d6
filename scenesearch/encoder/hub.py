"""Encoders from the Hugging Face hub, pinned to a commit.

    repo = look_up("Xenova/clip-vit-base-patch32")
    download(repo, READY, folder)
    write_ready_encoder(folder, encoder_folder, "clip", repo)

Repositories that carry both towers as ONNX graphs (the transformers.js conversions of CLIP and
SigLIP) are taken as they are, without torch. Repositories are strangers: nothing of one is run,
names are checked, and sizes and hashes have to be those that the hub declares.
"""

import fnmatch
import hashlib
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

import numpy as np

from scenesearch.encoder.base import EncoderError, TextInput
from scenesearch.encoder.folder import PARTS
from scenesearch.encoder.graphs import open_graph
from scenesearch.encoder.model_folder import ModelError, read_image_input, read_json
from scenesearch.encoder.onnx import OnnxEncoder
from scenesearch.encoder.preprocessing import noise_pixels

IMAGE_GRAPH, TEXT_GRAPH = "onnx/vision_model.onnx", "onnx/text_model.onnx"
READY = (IMAGE_GRAPH, TEXT_GRAPH, "tokenizer.json", "preprocessor_config.json", "config.json")
PARITY = 0.9999  # cosine of an embedding computed alone and in a batch

# Of a repository that has to be converted: everything that transformers may read beside weights,
# and the card for its licence.
SIDE_FILES = ("*.json", "*.txt", "*.model", "README.md")
PICKLED = "pytorch_model*.bin"  # weights in one file, or the parts of a large model
_OTHER_FRAMEWORKS = ("onnx/*", "openvino/*", "open_clip_*", "*.h5", "*.msgpack", "*_ov/*")
# What a conversion calls its embeddings, best first; a CLIP's pooler_output is not projected yet.
_OUTPUTS = {"image": ("image_embeds", "pooler_output"), "text": ("text_embeds", "pooler_output")}
_FAMILIES = {"clip": 77, "siglip": 64}  # and the tokens of a text, where nothing says it
_PROBES = ("a dog", "two children playing on a beach at sunset with a red kite", "boats")


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


def has_ready_towers(repo: Repository) -> bool:
    """Whether it carries both towers as graphs, each whole in its file."""
    split = (f"{IMAGE_GRAPH}_data", f"{TEXT_GRAPH}_data")
    return set(READY) <= repo.files.keys() and not any(n.startswith(split) for n in repo.files)


def names_to_take(repo: Repository) -> tuple[str, ...]:
    """The files of ready towers, and what else says something of them."""
    return (*READY, *(name for name in ("tokenizer_config.json",) if name in repo.files))


def names_to_convert(repo: Repository, *, pickled: bool = False) -> tuple[str, ...]:
    """The files that a conversion through torch needs: weights and all beside them.

    With `pickled` also weights that are no safetensors. Raises HubError when there are none.
    """
    weights = ("*.safetensors", PICKLED) if pickled else ("*.safetensors",)
    names = [name for name in repo.files if not _matches(name, _OTHER_FRAMEWORKS, whole=True)]
    if not any(_matches(name, weights) for name in names):
        raise HubError(
            f"{repo.repo_id} has neither ONNX towers ({IMAGE_GRAPH}, {TEXT_GRAPH}) nor "
            f"safetensors weights{'' if pickled else how_to_convert(repo.repo_id)}"
        )
    return tuple(name for name in names if _matches(name, (*SIDE_FILES, *weights)))


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
        return _sha256(path) == declared
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


# --- towers that are ready -------------------------------------------------------------------


def write_ready_encoder(source: Path, folder: Path, name: str, repo: Repository) -> None:
    """An encoder folder from the downloaded files of a repository with ready towers.

    The graphs are verified, see `verify`; raises EncoderError when they cannot be served.
    """
    config = read_json(source / "config.json")
    family = str(config.get("model_type"))
    if family not in _FAMILIES:
        raise HubError(
            f"{repo.repo_id} is a {family} model: CLIP and SigLIP towers can be taken as they are"
        )
    image_input = read_image_input(source)
    text_config = config.get("text_config")
    text_config = text_config if isinstance(text_config, dict) else {}
    context_length = text_config.get("max_position_embeddings", _FAMILIES[family])
    if not isinstance(context_length, int) or not 2 <= context_length <= 8192:
        raise HubError(f"{repo.repo_id}: {context_length!r} tokens are no length of a text")
    folder.mkdir(parents=True)
    for file, part in zip(READY, PARTS, strict=False):
        shutil.copyfile(source / file, folder / part)
    outputs = {side: _output(folder / f"{side}.onnx", side, family) for side in ("image", "text")}
    image_input = image_input.model_copy(update={"output": outputs["image"]})
    text_input = TextInput(
        context_length=context_length,
        pad_token_id=_pad_token_id(source, text_config),
        # SigLIP was trained on texts padded to its full length, without a mask.
        padding="context_length" if family == "siglip" else "longest",
        output=outputs["text"],
    )
    graph = open_graph(folder / "image.onnx", threads=1)
    one = graph.run(outputs["image"], {"pixel_values": noise_pixels(image_input, 1)})
    manifest: dict[str, Any] = {
        "format": 1,
        "name": name,
        "dimension": one.shape[-1],
        "image": image_input.to_json(),
        "text": text_input.to_json(),
        "files": {part: _signature(folder / part) for part in PARTS},
        "precision": "fp32",
        "parent": repo.parent(),
    }
    _write(folder, manifest)
    manifest["verified"] = verify(folder)
    _write(folder, manifest)


def verify(folder: Path) -> dict[str, float]:
    """The least cosine of embeddings computed alone and in a batch; raises EncoderError.

    Texts of unequal length stand in one batch, because padding is where graphs go wrong.
    """
    encoder = OnnxEncoder(folder)
    pixels = noise_pixels(encoder.info.image, 3)
    found = {
        "image": (encoder.encode_pixels(pixels), [encoder.encode_pixels(p[None]) for p in pixels]),
        "text": (encoder.encode_texts(_PROBES), [encoder.encode_texts([t]) for t in _PROBES]),
    }
    figures = {}
    for side, (together, alone) in found.items():
        apart = np.square(together - np.concatenate(alone)).sum(axis=1)
        figure = float(1 - apart.max() / 2)  # the cosine, of unit vectors
        if not np.isfinite(together).all() or not figure >= PARITY:
            raise HubError(
                f"{encoder.info.name} is not taken: its {side} embeddings change with their "
                f"neighbours in a batch (cosine {figure:.4f}, {PARITY} is needed)"
            )
        figures[side] = round(figure, 6)
    return figures


def _output(path: Path, side: str, family: str) -> str:
    graph = open_graph(path, threads=1)
    needed = {"pixel_values"} if side == "image" else {"input_ids"}
    unknown = graph.inputs - needed - ({"attention_mask"} if side == "text" else set())
    if unknown or not needed <= graph.inputs:
        raise HubError(f"the {side} graph takes {', '.join(sorted(graph.inputs))}: it is not known")
    usable = _OUTPUTS[side][: 1 if family == "clip" else None]
    for output in usable:
        if output in graph.outputs:
            return output
    raise HubError(f"the {side} graph gives {', '.join(sorted(graph.outputs))}, not {usable[0]}")


def _pad_token_id(source: Path, text_config: dict[str, Any]) -> int:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    except Exception as error:  # tokenizers raises bare Exception
        raise HubError(f"its tokenizer.json is not usable: {error}") from None
    declared = {}
    if (source / "tokenizer_config.json").is_file():
        declared = read_json(source / "tokenizer_config.json")
    token = declared.get("pad_token")
    token = token.get("content") if isinstance(token, dict) else token
    found = tokenizer.token_to_id(token) if isinstance(token, str) else None
    if found is None:
        found = text_config.get("pad_token_id", 0)
    if not isinstance(found, int) or not 0 <= found < tokenizer.get_vocab_size():
        raise ModelError(f"its tokenizer has no token {found!r} to pad with")
    return found


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _signature(path: Path) -> dict[str, Any]:
    return {"sha256": _sha256(path), "bytes": path.stat().st_size}


def _write(folder: Path, manifest: dict[str, Any]) -> None:
    text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
    (folder / "encoder.json").write_text(text, encoding="utf-8")
