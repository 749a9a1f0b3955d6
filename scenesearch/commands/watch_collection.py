"""`scenesearch watch-collection`: tell a command or an address what a collection got."""

import hashlib
import json
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scenesearch.commands.common import EncoderOption, LibraryOption, open_installation
from scenesearch.commands.console import (
    FOUND,
    NOTHING,
    JsonOption,
    fail,
    print_json,
    printable,
    say,
)
from scenesearch.errors import SceneSearchError
from scenesearch.runtime import signals

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scenesearch.home.collection_watch import WatchState
    from scenesearch.notebook import Library
    from scenesearch.search.answer import Hit

# An address that does not accept is asked so often; what it did not take stays new.
_TRIES = 4
_FIRST_PAUSE_S = 1.0
_POST_S = 10.0
_RETRIES_S = 60.0


def watch_collection(
    name: Annotated[str, typer.Argument(help="Name of the collection.")],
    command: Annotated[
        str | None,
        typer.Option(
            "--exec",
            metavar="CMD",
            help="Run this when there are new pictures, without a shell. Its input has a line of "
            "JSON for each; no name of a picture is in its arguments.",
        ),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(
            "--post",
            metavar="URL",
            help="Send them to this address as JSON, http or https; redirects are not followed.",
        ),
    ] = None,
    secret_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="With --post: sign with the secret in this file (X-Hub-Signature-256).",
        ),
    ] = None,
    report_all: Annotated[
        bool,
        typer.Option(
            "--all",
            help="The first time, report all pictures. Default: what is there then is not new.",
        ),
    ] = False,
    every: Annotated[
        float | None,
        typer.Option(
            min=1, metavar="SECONDS", help="Look again after so many seconds, until Ctrl-C."
        ),
    ] = None,
    library: LibraryOption = None,
    encoder: EncoderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Report the pictures that a collection got since the last time, to a command or an address.

    What is new is remembered only after the command succeeded and the address accepted it.

    Exits 0 when there are new pictures, 1 when there are none, 2 when something failed.
    """
    from scenesearch.home.collection_watch import WatchState
    from scenesearch.home.saved_collections import find_collection
    from scenesearch.notebook import open_library

    whom = _Told(_words(command), url, _secret(url, secret_file))
    installation = open_installation()
    library_name = installation.library_name(library)
    files = installation.files(library_name)
    find_collection(files.saved_requests, name)
    state = WatchState(files.folder, name)
    with (
        state.alone(),
        open_library(library_name, encoder=encoder, installation=installation) as opened,
    ):
        if every is None:
            new = _look(opened, state, name, whom, report_all=report_all, as_json=as_json)
            sys.exit(FOUND if new else NOTHING)
        stop = threading.Event()
        signals.install_handlers(stop.set)  # a second signal ends the process at once
        say(f"watching collection {name} until Ctrl-C")
        while True:
            try:
                _look(opened, state, name, whom, report_all=report_all, as_json=as_json)
            except TellError as error:
                say(f"{error}; it is tried again in {every:g} seconds")
            opened.release()
            if stop.wait(every):
                break
    signals.first_notice()  # a signal is the normal end, so nothing is said about it


class TellError(SceneSearchError):
    """The command or the address failed; the message is one sentence for the user."""


@dataclass(frozen=True)
class _Told:
    """Who is told: a command's words, an address and the secret that signs; each may be none."""

    words: Sequence[str]
    url: str | None
    secret: str | None


def _words(command: str | None) -> list[str]:
    """The command as the words that the system gets; none for no command."""
    if command is None:
        return []
    try:
        words = shlex.split(command)
    except ValueError:
        fail(f"--exec {command}: a quote is not closed")
    if not words or shutil.which(words[0]) is None:
        fail(f"--exec {command}: there is no such program")
    return words


def _secret(url: str | None, file: Path | None) -> str | None:
    """The secret in the file, None without one; the address is checked too."""
    from scenesearch.home.webhook_message import MAX_SECRET, MIN_SECRET
    from scenesearch.runtime.web_address import PostError, parse_target

    if url is None:
        if file is not None:
            fail("--secret-file needs --post")
        return None
    try:
        parse_target(url)
    except PostError as error:
        fail(f"--post: {error}")
    if file is None:
        return None
    try:
        with file.open(encoding="utf-8") as lines:
            secret = lines.read(MAX_SECRET + 2).strip()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text in UTF-8"
        fail(f"--secret-file {file}: {why}")
    if not MIN_SECRET <= len(secret) <= MAX_SECRET:
        fail(f"--secret-file {file}: a secret has {MIN_SECRET} to {MAX_SECRET} characters")
    return secret


def _look(
    opened: "Library",
    state: "WatchState",
    name: str,
    whom: _Told,
    *,
    report_all: bool,
    as_json: bool,
) -> bool:
    """Report what is new, and remember it; whether there was anything."""
    from scenesearch.home.collection_watch import Seen
    from scenesearch.home.webhook_message import in_messages, told

    seen = state.read()
    members = opened.collection(name)
    request = members.collection.asked
    hits = list(members)
    opened.release()
    if seen is None and report_all:
        seen = Seen(request, frozenset())
    if seen is None or seen.request != request:
        state.write(Seen(request, frozenset()).with_hits(hits))
        why = "is watched from now on" if seen is None else "has another request by now"
        say(f"collection {name} {why}: its {len(hits):,} pictures are not new")
        return False
    new = seen.new(hits)
    if not new:
        say(f"collection {name} has no new pictures")
        return False
    rows = [told(opened.name, name, hit) for hit in new]
    if as_json:
        print_json(rows)
    else:
        for hit in new:
            typer.echo(printable(hit.path))
    if whom.words:
        _run(whom.words, rows)
    for part in in_messages(new) if whom.url else ():
        _post(whom, opened.name, name, part)
        seen = seen.with_hits(part)
        state.write(seen)
    state.write(seen.with_hits(hits))
    return True


def _run(words: "Sequence[str]", rows: "Sequence[Mapping[str, Any]]") -> None:
    """Run the command with a line of JSON for each picture; raises ExecError where it fails."""
    sys.stdout.flush()
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    try:
        status = subprocess.run(words, input=lines, check=False).returncode  # noqa: S603
    except OSError as error:
        raise TellError(f"{words[0]} cannot be run: {error.strerror}") from None
    if status:
        how = f"ended by signal {-status}" if status < 0 else f"ended with status {status}"
        raise TellError(f"{words[0]} {how}: its pictures stay new")


def _post(whom: _Told, library: str, name: str, hits: "Sequence[Hit]") -> None:
    """Send what is new to the address; raises TellError where it is not accepted."""
    from scenesearch.home.collection_watch import content_of
    from scenesearch.home.webhook_message import headers_of, message_of
    from scenesearch.runtime.http_post import post
    from scenesearch.runtime.retry import RetryPolicy, retry
    from scenesearch.runtime.web_address import PostError

    # The same pictures, sent again, have the same id.
    what = json.dumps([library, name, sorted(map(content_of, hits))])
    delivery_id = hashlib.sha256(what.encode()).hexdigest()[:24]
    body = message_of(delivery_id, library, name, hits)
    headers = headers_of(delivery_id, body, whom.secret)
    policy = RetryPolicy(_RETRIES_S, _TRIES, _FIRST_PAUSE_S)
    try:
        # Whoever starts the command may call whatever this machine can reach.
        retry(
            lambda: post(str(whom.url), body, headers, local=None, timeout_s=_POST_S),
            policy,
            delay_of=lambda error: 0.0 if isinstance(error, PostError) else None,
        )
    except PostError as error:
        raise TellError(f"{error}: its pictures stay new") from None
