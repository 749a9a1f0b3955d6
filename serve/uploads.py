"""Pictures that clients bring: kept in the library's folder first, then ingested by a job."""

import hashlib
import json
import re
import secrets
import shutil
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path

from scenesearch.home.uploads import allowed_roots, save_picture
from scenesearch.store.base import CollectionMissing
from scenesearch.store.fields import BUILTIN_FIELDS
from serve.jobs import Job, Jobs
from serve.keys import Caller
from serve.libraries import Libraries
from serve.models import IngestRequest, NewImage, NewImages
from serve.problems import Refused, not_found

_TABLE = "pictures.jsonl"

_FIELD = re.compile(r"[^\W\d][\w -]{0,63}")
# Columns with a meaning of their own in a table.
_NO_FIELDS = frozenset({"image", "file_name", "caption", "captions", "tag", "tags"})


def bring_in(
    libraries: Libraries, jobs: Jobs, caller: Caller, asked: NewImages, key: str | None
) -> Job:
    """Keep the pictures, and the job that will ingest them."""
    library = libraries.name(caller, asked.library)
    _check_unfiltered(caller)
    _check_fields(libraries, caller, library, asked.images)
    digest = _digest(library, asked)
    job_id = jobs.job_id(caller, key)
    if (earlier := jobs.earlier(job_id, digest)) is not None:
        return earlier
    jobs.check_room()
    settings = libraries.installation.settings
    received = libraries.installation.files(library).received.absolute()
    unfinished = received / f".new-{secrets.token_hex(8)}"
    try:
        saved = [
            save_picture(one.name, one.data, unfinished, max_bytes=settings.api_body_mb * 10**6)
            for one in asked.images
        ]
        rows = [
            {"image": f"{job_id}/{path.name}", "captions": one.captions, "tags": one.tags}
            | one.fields
            for one, path in zip(asked.images, saved, strict=True)
        ]
        table = "".join(json.dumps(row) + "\n" for row in rows).encode()
        words = ("--as-copy", "--manifest", str(jobs.folder(job_id).absolute() / _TABLE))
        names = list(dict.fromkeys(path.name for path in saved))
        job = jobs.ingest(
            job_id, "images", library, caller, digest, (*words, "--", str(received)), names
        )
        with jobs.adding():
            if (earlier := jobs.earlier(job_id, digest)) is not None:
                return earlier
            # A server that was killed may have left pictures for which it promised nothing.
            shutil.rmtree(received / job_id, ignore_errors=True)
            unfinished.rename(received / job_id)
            return jobs.add(job, {_TABLE: table})
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def ingest_paths(
    libraries: Libraries, jobs: Jobs, caller: Caller, asked: IngestRequest, key: str | None
) -> Job:
    """Keep a job that ingests paths of this machine, below the folders that the settings allow."""
    library = libraries.name(caller, asked.library)
    _check_unfiltered(caller)
    roots = allowed_roots(libraries.installation.settings.api_folders, local=False)
    paths = [str(_allowed(path, roots)) for path in asked.paths]
    digest = _digest(library, asked)
    job_id = jobs.job_id(caller, key)
    words = [*(["--prune"] if asked.prune else []), "--", *paths]
    job = jobs.ingest(job_id, "ingest", library, caller, digest, words)
    with jobs.adding():
        if (earlier := jobs.earlier(job_id, digest)) is not None:
            return earlier
        jobs.check_room()
        return jobs.add(job)


def _allowed(text: str, roots: Sequence[Path]) -> Path:
    """The path with its links resolved; refused outside the folders, whether it exists or not."""
    try:
        path = Path(text).resolve()
        inside = Path(text).is_absolute() and any(path.is_relative_to(root) for root in roots)
    except (OSError, RuntimeError, ValueError):
        inside = False
    if not inside:
        raise Refused(
            HTTPStatus.FORBIDDEN,
            f"{text[:200]} is in no folder that clients may have ingested "
            "(SCENESEARCH_API_FOLDERS)",
        )
    if not path.exists():
        raise not_found(f"{text[:200]} does not exist")
    return path


def _check_unfiltered(caller: Caller) -> None:
    """A new picture may lie outside what the key may see, or take the place of one that does."""
    if caller.where:
        raise Refused(
            HTTPStatus.FORBIDDEN, f"key {caller.name} has a filter and cannot add pictures"
        )


def _check_fields(
    libraries: Libraries, caller: Caller, library: str, images: Sequence[NewImage]
) -> None:
    """Refuse names that cannot be fields, and new fields for all but the scope admin: each has an
    index, for every picture of the library."""
    names = {name for one in images for name in one.fields}
    for name in names:
        if not _FIELD.fullmatch(name) or name.lower() in _NO_FIELDS:
            raise Refused(
                HTTPStatus.UNPROCESSABLE_ENTITY, f"fields.{name[:100]}: this cannot name a field"
            )
    if not names or caller.may("admin"):
        return
    try:
        declared = {field.name for field in libraries.store.describe(library).fields}
    except CollectionMissing:
        declared = {field.name for field in BUILTIN_FIELDS}
    if new := sorted(names - declared):
        raise Refused(
            HTTPStatus.FORBIDDEN,
            f"fields.{new[0][:100]}: library {library} has no such field, and only a key with the "
            "scope admin may add one",
        )


def _digest(library: str, asked: NewImages | IngestRequest) -> str:
    text = f"{type(asked).__name__} {library} {asked.model_dump_json()}"
    return hashlib.sha256(text.encode()).hexdigest()
