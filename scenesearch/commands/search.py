"""`scenesearch search`."""

import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from scenesearch.commands.common import EncoderOption, LibraryOption, WhereOption, open_installation
from scenesearch.commands.console import (
    FOUND,
    NOTHING,
    JsonOption,
    fail,
    print_json,
    printable,
    say,
)

if TYPE_CHECKING:
    from scenesearch.notebook import Answer, Library
    from scenesearch.search.why import Why

_BAR = 24
_SHADES = " ░▒▓█"
_WORD = re.compile(r"[^\W\d_][\w'’.,!?-]*")


class RequestCommand(TyperCommand):
    """Explains how to write `search dog -people`, where '-people' looks like options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not ctx.resilient_parsing:  # as a shell's completion is
            options = {name: param for param in self.params for name in param.opts}
            check_words(args, options, command=_names_of(ctx))
        return super().parse_args(ctx, args)


def _names_of(ctx: Any) -> list[str]:
    """The names of the command and of the groups that it is in, without the program's."""
    names: list[str] = []
    while ctx.parent is not None:
        names.insert(0, ctx.info_name)
        ctx = ctx.parent
    return names


def check_words(
    words: Sequence[str], options: Mapping[str, Any], *, command: Sequence[str] = ("search",)
) -> None:
    """Raise QueryError for a word of the request that would be read as an option, or as several."""
    request: list[str] = []
    given: list[str] = []
    mistaken: str | None = None
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            request += rest
            break
        if not word.startswith("-") or word == "-":
            request.append(word)
        elif word in options or word.startswith("--"):
            option = options.get(word)
            given.append(word)
            if rest and option is not None and not option.is_flag:
                given.append(rest.pop(0))
        elif _has_value(word, options):
            given.append(word)
        else:
            mistaken = mistaken or word
            request.append(word)
    if mistaken is not None:
        from scenesearch.search.request import QueryError

        written = " ".join(request)
        quotes = "" if written.startswith("-") else f"{_in_quotes(written)} in quotes, or "
        meant = options.get(mistaken[:2])
        valued = meant is not None and not meant.is_flag
        option = f", or {mistaken[:2]} {mistaken[2:]}" if valued else ""
        # After '--' options would be read as words.
        after = shlex.join(["scenesearch", *command, *given, "--", *request])
        raise QueryError(f"{mistaken} is no option: write {quotes}{after}{option}")


def _in_quotes(text: str) -> str:
    """The text as one word of the shell, in double quotes where these keep all as it is."""
    return shlex.quote(text) if set(text) & set('"$`\\!') else f'"{text}"'


def _has_value(word: str, options: Mapping[str, Any]) -> bool:
    """Whether it is a short option with its value, like -k5 and -wwidth:>100. -landscape and
    -well-lit are words: what follows -l and -w reads as a word."""
    option = options.get(word[:2])
    return option is not None and not option.is_flag and not _WORD.fullmatch(word[2:])


def search(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TEXT",
            help="What the picture shows: 'dog on a beach - people + like:IMG_12 camera:canon "
            "taken:2019..2021', 'dog (tag:sea or tag:boat)'. The grammar is in docs/search.md. "
            "Quotes are optional; write -- before words that begin with '-'.",
        ),
    ] = None,
    image: Annotated[
        Path | None, typer.Option(help="A picture to search with, alone or together with words.")
    ] = None,
    like: Annotated[
        str | None,
        typer.Option(
            metavar="ID", help="A picture of the library to search with: its id, or the end of it."
        ),
    ] = None,
    where: WhereOption = None,
    k: Annotated[
        int, typer.Option("--limit", "-k", min=1, max=10_000, help="How many pictures to list.")
    ] = 10,
    min_relevance: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Leave out less relevant pictures. Default: SCENESEARCH_MIN_RELEVANCE, or else "
            "where at most one in ten things that the library does not show is found.",
        ),
    ] = None,
    show_all: Annotated[
        bool,
        typer.Option("--all", help="List the nearest in any case: --min-relevance 0."),
    ] = False,
    sort: Annotated[
        str | None,
        typer.Option(
            metavar="FIELD", help="Order the relevant pictures by a field; -taken: newest first."
        ),
    ] = None,
    after: Annotated[
        str | None,
        typer.Option(
            metavar="CURSOR", help="Continue after the page whose --json has this 'next'."
        ),
    ] = None,
    copies: Annotated[
        bool,
        typer.Option("--copies", help="List near-duplicates one by one, not as one hit."),
    ] = False,
    diversity: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Prefer pictures unlike those above; 0.5 is a lot."),
    ] = None,
    hybrid: Annotated[
        bool | None,
        typer.Option(
            "--hybrid/--no-hybrid",
            help="Rank by captions, tags, titles and file names too. Default: where pictures have "
            "captions.",
        ),
    ] = None,
    feedback: Annotated[
        bool,
        typer.Option("--feedback", help="Rank by the hits marked right or wrong for this text."),
    ] = False,
    facet: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD", help="Count the values of this field in the answer; may be repeated."
        ),
    ] = None,
    explain: Annotated[
        int | None,
        typer.Option(
            "--why",
            min=1,
            metavar="RANK",
            help="Explain the hit at this rank: what each word adds, and where it is seen.",
        ),
    ] = None,
    heat: Annotated[
        Path | None,
        typer.Option(help="With --why: save the picture with a heat map of where it is seen."),
    ] = None,
    library: LibraryOption = None,
    encoder: EncoderOption = None,
    sheet: Annotated[
        Path | None, typer.Option(help="Save the pictures as a contact sheet (.jpg, .png).")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Find the pictures that show the scene. Exits 0 when found, 1 when nothing matches."""
    from scenesearch.notebook import open_library

    text = " ".join(words or ())
    installation = open_installation()
    if show_all and min_relevance:
        fail("--all means --min-relevance 0: give one of them")
    if heat is not None and explain is None:
        fail("--heat needs --why RANK, which says of which hit")
    with open_library(library, encoder=encoder, installation=installation) as opened:
        right, wrong = tuple[str, ...](), tuple[str, ...]()
        if feedback:
            with opened.files.open_feedback() as marks:
                right, wrong = marks.of(text)
        answer = opened.search(
            text,
            image=image,
            like=like,
            where=where or (),
            k=k,
            min_relevance=0.0 if show_all else min_relevance,
            sort=sort,
            after=after,
            collapse=not copies,
            diversity=diversity,
            hybrid=hybrid,
            right=right,
            wrong=wrong,
            facets=facet or (),
        )
        reasons = _reasons(opened, answer, explain, heat) if explain else None
    for notice in answer.notices:
        say(notice)
    if sheet is not None and answer.hits:
        write_sheet(sheet, answer)
    if as_json:
        print_json(answer.to_json() | ({"why": reasons.to_json()} if reasons else {}))
    else:
        print_answer(answer)
        if reasons is not None:
            _print_reasons(reasons)
    sys.exit(FOUND if answer.hits else NOTHING)


def _reasons(opened: "Library", answer: "Answer", rank: int, heat: Path | None) -> "Why | None":
    from dataclasses import replace

    from scenesearch.notebook import OriginalUnavailable
    from scenesearch.search.why import outline, overlay

    hit = next((hit for hit in answer.hits if hit.rank == rank), None)
    if hit is None:
        say(f"--why {rank}: the answer has no hit at that rank")
        return None
    try:
        reasons = opened.why(answer.request, hit.image_id)
    except OriginalUnavailable as error:
        say(f"--why {rank}: words only, {error}")
        reasons = opened.why(answer.request, hit.image_id, heat=False)
    if heat is not None and reasons.heat is not None:
        try:
            shown = overlay(opened.picture(hit.image_id), reasons.heat)
            outline(shown, reasons.text, marked=reasons.text).save(heat)
        except ValueError:  # Pillow does not know the suffix
            fail(f"--heat {heat}: a picture is written as .jpg or .png")
    # The relevance of the hit in this answer; it has one, since there are reasons.
    return replace(reasons, relevance=hit.relevance or 0.0)


def print_answer(answer: "Answer") -> None:
    if not answer.hits:
        hint = ""
        if nearest := answer.nearest:
            found = f"{nearest.image_id} at {nearest.relevance or 0:.0%}"
            hint = f"; nearest is {found}, see it with --all"
        say(f"nothing in library {answer.library} matches {answer.query!r}{hint}")
        return
    for hit in answer.hits:
        captions = hit.payload.get("captions") or [""]
        copies = f"  (and {len(hit.duplicates)} like it)" if hit.duplicates else ""
        copies += "  (offline)" if hit.offline else ""
        found = ""
        if hit.relevance is not None and hit.score is not None:
            found = f"{hit.relevance:>4.0%} {hit.band:<7}  {hit.score:.3f}  "
        typer.echo(
            f"{hit.rank:>3}  {found}{printable(hit.path)}  "
            f"{printable(captions[0])}{copies}".rstrip()
        )
    away = [hit.rank for hit in answer.hits if not answer.originals.allows(hit.path)]
    if away:
        ranks = ", ".join(map(str, away[:20])) + (" ..." if len(away) > 20 else "")
        whose = "their originals" if len(away) == len(answer.hits) else f"the originals of {ranks}"
        say(
            f"{whose} are not here: they lie outside the folders and addresses "
            "that this installation has ingested from (docs/security.md)"
        )
    for name, counts in answer.facets.items():
        listed = ", ".join(f"{printable(str(value))} {count}" for value, count in counts)
        typer.echo(f"{name}: {listed or 'no values'}")
    if answer.excluded:
        left_out = "pictures are left out because they show"
        if answer.excluded == 1:
            left_out = "picture is left out because it shows"
        say(f"{answer.excluded:,} {left_out} what is subtracted")


def _print_reasons(reasons: "Why") -> None:
    """Bars for the words and shades for the picture, on the scale of the largest of each."""
    typer.echo(f"why {printable(reasons.image_id)}, {reasons.relevance:.0%}:")
    largest = max((abs(effect.effect) for effect in reasons.words), default=0) or 1
    width = max((len(effect.word) for effect in reasons.words), default=0)
    for effect in reasons.words:
        bar = "█" * round(_BAR * abs(effect.effect) / largest)
        typer.echo(f"  {printable(effect.word):<{width}}  {effect.effect:+.2f} {bar}")
    if reasons.more_words:
        typer.echo(f"  and {reasons.more_words} more words, which were not examined")
    for line in reasons.text:
        left, top = min(line.box[::2]), min(line.box[1::2])
        typer.echo(f"  written at {left:.0%}, {top:.0%}: {printable(line.text)}")
    if reasons.heat is not None:
        top = max(float(reasons.heat.cells.max()), 1e-6)
        for row in reasons.heat.cells:
            shades = (min(len(_SHADES) - 1, int(len(_SHADES) * max(0, cell) / top)) for cell in row)
            typer.echo("  " + "".join(_SHADES[shade] * 2 for shade in shades))


def write_sheet(file: Path, answer: "Answer") -> None:
    from scenesearch.pictures.contact_sheet import SheetEntry, notes_of, write_contact_sheet

    entries = [
        SheetEntry(
            answer.originals.original(hit.payload),
            "  ".join(filter(None, (f"{hit.rank}.", hit.likeness, hit.image_id))),
            notes_of(hit.payload),
            thumbnails_dir=answer.thumbnails_dir,
            sha256=str(hit.payload.get("sha256", "")),
        )
        for hit in answer.hits
    ]
    write_contact_sheet(file, answer.query, entries)
