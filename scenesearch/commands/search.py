"""`scenesearch search`."""

import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from scenesearch.commands.common import EncoderOption, LibraryOption, WhereOption, library_name
from scenesearch.commands.console import (
    FOUND,
    NOTHING,
    JsonOption,
    fail,
    print_json,
    printable,
    read_settings,
    say,
)

if TYPE_CHECKING:
    from scenesearch.home.settings import Settings
    from scenesearch.notebook import Library
    from scenesearch.search.answer import SearchResult
    from scenesearch.search.request import Request
    from scenesearch.search.why import Why

_BAR = 24
_SHADES = " ░▒▓█"
_WORD = re.compile(r"[^\W\d_][\w'’.,!?-]*")


class SearchCommand(TyperCommand):
    """Says how `search dog -people` is written, whose '-people' the shell hands over as options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not ctx.resilient_parsing:  # as a shell's completion is
            check_words(args, {name: param for param in self.params for name in param.opts})
        return super().parse_args(ctx, args)


def check_words(words: Sequence[str], options: Mapping[str, Any]) -> None:
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
        # Behind '--' an option would be words too.
        after = shlex.join(["scenesearch", "search", *given, "--", *request])
        raise QueryError(f"{mistaken} is no option: write {quotes}{after}{option}")


def _in_quotes(text: str) -> str:
    """The text as one word of the shell, in double quotes where these keep all as it is."""
    return shlex.quote(text) if set(text) & set('"$`\\!') else f'"{text}"'


def _has_value(word: str, options: Mapping[str, Any]) -> bool:
    """Whether it is a short option with its value, as -k5 and -wwidth:>100 are. -landscape and
    -well-lit are words: what would stand behind -l and -w reads as one."""
    option = options.get(word[:2])
    return option is not None and not option.is_flag and not _WORD.fullmatch(word[2:])


def search(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TEXT",
            help="What the picture shows: 'dog on a beach - people + like:IMG_12 camera:canon "
            "taken:2019..2021'; docs/search.md has the whole grammar. Without quotes the words are "
            "joined; before words that begin with '-' write --.",
        ),
    ] = None,
    image: Annotated[
        Path | None, typer.Option(help="A picture to search with, alone or beside the words.")
    ] = None,
    like: Annotated[
        str | None,
        typer.Option(
            metavar="ID", help="The same with a picture of the library: its id, or the id's end."
        ),
    ] = None,
    where: WhereOption = None,
    k: Annotated[
        int, typer.Option("--limit", "-k", min=1, max=10_000, help="How many pictures.")
    ] = 10,
    min_relevance: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Leave out less relevant ones; default: SCENESEARCH_MIN_RELEVANCE.",
        ),
    ] = None,
    show_all: Annotated[
        bool, typer.Option("--all", help="Always answer with the nearest: --min-relevance 0.")
    ] = False,
    sort: Annotated[
        str | None,
        typer.Option(
            metavar="FIELD", help="Order the relevant pictures by a field; -taken: newest first."
        ),
    ] = None,
    after: Annotated[
        str | None,
        typer.Option(metavar="CURSOR", help="Go on after a page: the 'next' of its --json."),
    ] = None,
    copies: Annotated[
        bool, typer.Option("--copies", help="List near-duplicates one by one, not as one.")
    ] = False,
    diversity: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Prefer pictures unlike those before them; 0.5 is a lot."),
    ] = None,
    hybrid: Annotated[
        bool | None,
        typer.Option(
            "--hybrid/--no-hybrid",
            help="Rank by captions, tags, titles and file names too; default: where pictures "
            "have captions.",
        ),
    ] = None,
    feedback: Annotated[
        bool,
        typer.Option(
            "--feedback", help="Rank by what `scenesearch feedback` was told for this text."
        ),
    ] = False,
    facet: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD", help="Count this field's values in the answer; may be repeated."
        ),
    ] = None,
    explain: Annotated[
        int | None,
        typer.Option(
            "--why",
            min=1,
            metavar="RANK",
            help="Say why the hit of this rank was found: what each word adds, where it is seen.",
        ),
    ] = None,
    heat: Annotated[
        Path | None,
        typer.Option(help="With --why: save that picture with what is seen where laid over it."),
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
    from scenesearch.search.grammar import parse_facet

    text = " ".join(words or ())
    settings = read_settings()
    if show_all and min_relevance:
        fail("--all is --min-relevance 0: give one of them")
    if heat is not None and explain is None:
        fail("--heat is about one hit: say which with --why RANK")
    if show_all:
        min_relevance = 0.0
    name = library_name(library or settings.library)
    with open_library(name, encoder=encoder, settings=settings) as opened:
        request = opened.request(text, image=image, like=like, where=where or [], sort=sort)
        right, wrong = _told(settings, name, text) if feedback else ((), ())
        result = opened.searcher.search(
            request,
            k=k,
            after=after,
            min_relevance=settings.min_relevance if min_relevance is None else min_relevance,
            collapse=not copies,
            diversity=diversity,
            hybrid=hybrid,
            right=right,
            wrong=wrong,
            facets=tuple(parse_facet(name, opened.fields) for name in facet or ()),
        )
        reasons = _reasons(opened, request, result, explain, heat) if explain else None
    for notice in result.notices:
        say(notice)
    if sheet is not None and result.hits:
        write_sheet(sheet, result, settings)
    if as_json:
        print_json(result.to_json() | ({"why": reasons.to_json()} if reasons else {}))
    else:
        print_hits(result, settings)
        if reasons is not None:
            print_reasons(reasons)
    sys.exit(FOUND if result.hits else NOTHING)


def _told(settings: "Settings", library: str, text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The pictures called right, and those called wrong, for the text."""
    from scenesearch.home.feedback import FILE_NAME, Feedback

    with closing(Feedback(settings.library_dir(library) / FILE_NAME)) as table:
        return table.of(text)


def _reasons(
    opened: "Library", request: "Request", result: "SearchResult", rank: int, heat: Path | None
) -> "Why | None":
    from dataclasses import replace

    from scenesearch.notebook import OriginalUnavailable
    from scenesearch.search.why import overlay

    hit = next((hit for hit in result.hits if hit.rank == rank), None)
    if hit is None:
        say(f"--why {rank}: the answer has no hit of that rank")
        return None
    try:
        reasons = opened.why(request, hit.image_id)
    except OriginalUnavailable as error:
        say(f"--why {rank}: words alone, {error}")
        reasons = opened.why(request, hit.image_id, heat=False)
    if heat is not None and reasons.heat is not None:
        try:
            overlay(opened.picture(hit.image_id), reasons.heat).save(heat)
        except ValueError:  # as Pillow says of a suffix it does not know
            fail(f"--heat {heat}: a picture is written as .jpg or .png")
    # That of its place in this answer; there is one where there are reasons.
    return replace(reasons, relevance=hit.relevance or 0.0)


def print_hits(result: "SearchResult", settings: "Settings") -> None:
    from scenesearch.home.ingested import ingested

    if not result.hits:
        nearest = result.nearest
        hint = (
            f"; nearest is {nearest.image_id} at {nearest.relevance or 0:.0%}, see it with --all"
            if nearest
            else ""
        )
        say(f"nothing in library {result.library} matches {result.query!r}{hint}")
        return
    for hit in result.hits:
        captions = hit.payload.get("captions") or [""]
        copies = f"  (and {len(hit.duplicates)} like it)" if hit.duplicates else ""
        found = ""
        if hit.relevance is not None and hit.score is not None:
            found = f"{hit.relevance:>4.0%} {hit.band:<7}  {hit.score:.3f}  "
        typer.echo(
            f"{hit.rank:>3}  {found}{printable(hit.path)}  "
            f"{printable(captions[0])}{copies}".rstrip()
        )
    originals = ingested(settings)
    away = [hit.rank for hit in result.hits if not originals.holds(hit.path)]
    if away:
        ranks = ", ".join(map(str, away[:20])) + (" ..." if len(away) > 20 else "")
        whose = "their originals" if len(away) == len(result.hits) else f"the originals of {ranks}"
        say(
            f"{whose} are not here: they lie outside the folders and addresses "
            "that this installation has ingested from (docs/security.md)"
        )
    for name, counts in result.facets.items():
        listed = ", ".join(f"{printable(str(value))} {count}" for value, count in counts)
        typer.echo(f"{name}: {listed or 'no values'}")
    if result.excluded:
        told = (
            "picture is left out because it shows"
            if result.excluded == 1
            else ("pictures are left out because they show")
        )
        say(f"{result.excluded:,} {told} what is subtracted")


def print_reasons(reasons: "Why") -> None:
    """Bars for the words and shades for the picture, on the scale of the largest of each."""
    typer.echo(f"why {printable(reasons.image_id)}, {reasons.relevance:.0%}:")
    largest = max((abs(effect.effect) for effect in reasons.words), default=0) or 1
    width = max((len(effect.word) for effect in reasons.words), default=0)
    for effect in reasons.words:
        bar = "█" * round(_BAR * abs(effect.effect) / largest)
        typer.echo(f"  {printable(effect.word):<{width}}  {effect.effect:+.2f} {bar}")
    if reasons.more_words:
        typer.echo(f"  and {reasons.more_words} more words, which were not looked at")
    if reasons.heat is not None:
        top = max(float(reasons.heat.cells.max()), 1e-6)
        for row in reasons.heat.cells:
            shades = (min(len(_SHADES) - 1, int(len(_SHADES) * max(0, cell) / top)) for cell in row)
            typer.echo("  " + "".join(_SHADES[shade] * 2 for shade in shades))


def write_sheet(file: Path, result: "SearchResult", settings: "Settings") -> None:
    from scenesearch.home.ingested import ingested
    from scenesearch.pictures.contact_sheet import SheetEntry, write_contact_sheet

    originals = ingested(settings)
    thumbnails = settings.library_dir(result.library) / "thumbnails"
    entries = [
        SheetEntry(
            originals.original(hit.payload),
            "  ".join(filter(None, (f"{hit.rank}.", hit.likeness, hit.image_id))),
            next(iter(hit.payload.get("captions") or [""])),
            thumbnails_dir=thumbnails,
            sha256=str(hit.payload.get("sha256", "")),
        )
        for hit in result.hits
    ]
    write_contact_sheet(file, result.query, entries)
