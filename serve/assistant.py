"""The tools that an assistant has over MCP: search, pictures that it can see, and what there is.

    scenesearch mcp --library photos         over standard input and output
    scenesearch serve                        at /mcp, with the same keys as the rest of the API

It answers from the same service as the routes: the same libraries, limits and rights of keys.
"""

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated, Any, ParamSpec, TypeVar

from mcp.server.mcpserver import Context, Image, MCPServer
from mcp.server.mcpserver.exceptions import ResourceError, ToolError
from mcp.types import ToolAnnotations
from pydantic import Field

from scenesearch.errors import SceneSearchError
from scenesearch.pictures.contact_sheet import SheetEntry, contact_sheet, notes_of
from scenesearch.pictures.thumbnails import safe_thumbnail_path
from scenesearch.search.request import QueryError, Request
from scenesearch.search.why import why
from scenesearch.store.base import Point
from serve.changes import change, is_writable, remove
from serve.gate import CALLER
from serve.keys import LOCAL, Caller
from serve.libraries import OpenLibrary
from serve.models import ImageChange, PicturePart, SearchRequest
from serve.pictures import thumbnail
from serve.problems import Refused, refusal_of
from serve.searching import filters_of, search
from serve.service import Service, with_scope

# Up to so many pictures are shown each by itself, up to so many on one sheet.
_MOST_SINGLE = 3
_MOST_ON_SHEET = 20

_INSTRUCTIONS = """Photograph libraries that can be searched by what the pictures show.

Describe the scene in plain words. Filters go into `where`: FIELD:VALUE, as in
'taken:2019..2021 camera:canon tag:sea,boat folder:2020/* width:>2000'. A blank means and; 'or',
parentheses and a minus for not work: '(camera:canon or camera:nikon) -tag:draft'. list_fields names
the fields. In `text`, ' - people' leaves out what shows people, ' + a boat' adds a second thing.
Pictures come as images: one by one, or many as a contact sheet numbered by rank."""

_TEXT = "What the pictures show, in plain words; '- people' leaves out what shows people."
_WHERE = (
    "Filters, like 'taken:2019..2021 (camera:canon or camera:nikon) -tag:draft'; fields are in "
    "list_fields."
)

Where = Annotated[str, Field(description=_WHERE, max_length=2000)]
Text = Annotated[str, Field(description=_TEXT, max_length=2000)]
Limit = Annotated[int, Field(description="How many pictures.", ge=1, le=_MOST_ON_SHEET)]
LibraryName = Annotated[
    str | None, Field(description="Name of the library; the first one if left out.", max_length=48)
]
ImageId = Annotated[str, Field(description="image_id of a picture found before.", max_length=4096)]

_READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
_WRITES = ToolAnnotations(read_only_hint=False, destructive_hint=True, open_world_hint=False)

_Args = ParamSpec("_Args")
_T = TypeVar("_T")


class Assistant:
    """What the tools do, for one caller; waits for the engine, in a worker thread."""

    def __init__(self, service: Service, caller: Caller) -> None:
        self._libraries = service.libraries
        self._caller = with_scope(caller, "read")
        self._writes = not service.settings.api_read_only

    def search(self, text: str, where: str, limit: int, library: str | None) -> list[Any]:
        return self._found(
            SearchRequest(library=library, text=text, where=where, limit=limit), text or where
        )

    def similar(self, image_id: str, where: str, limit: int, library: str | None) -> list[Any]:
        part = PicturePart(id=image_id)
        asked = SearchRequest(library=library, parts=[part], where=where, limit=limit)
        return self._found(asked, f"like {image_id}")

    def describe(self, image_id: str, text: str, library: str | None) -> list[Any]:
        opened = self._open(library)
        scope = opened.scope(self._caller)
        point = opened.picture(image_id, scope, with_vector=bool(text))
        known: dict[str, Any] = {"image_id": point.image_id, "library": opened.name}
        known |= {name: value for name, value in point.payload.items() if name != "own"}
        if text and point.vector is not None:
            request = replace(opened.searcher.parse(text), scope=scope)
            if all(part.excluded for part in request.parts):
                raise QueryError("filters alone have no reasons: describe a scene in words")
            reasons = why(
                opened.searcher,
                opened.encoder,
                request,
                point.image_id,
                point.vector,
                payload=point.payload,
            )
            told = reasons.to_json()
            names = ("relevance", "words", "more_words", "text")
            known["why"] = {name: told[name] for name in names}
        return [_json(known), *_shown(opened, [point])]

    def thumbnail(self, image_id: str, library: str) -> bytes:
        opened = self._open(library)
        return thumbnail(opened, opened.picture(image_id, opened.scope(self._caller)))

    def count(self, where: str, library: str | None) -> str:
        opened = self._open(library)
        filters = filters_of(where, opened)
        request = Request(filters=filters, scope=opened.scope(self._caller))
        return _json({"library": opened.name, "pictures": opened.searcher.count(request)})

    def libraries(self) -> str:
        found = []
        for name, _ in self._libraries.described(self._caller):
            opened = self._open(name)
            request = Request(scope=opened.scope(self._caller))
            found.append({"name": name, "pictures": opened.searcher.count(request)})
        return _json(found)

    def fields(self, library: str | None) -> str:
        opened = self._open(library)
        return _json(
            [
                {"name": one.name, "type": one.type, "about": one.help or one.label}
                | ({"writable": True} if self._writes and is_writable(one) else {})
                for one in opened.fields
            ]
        )

    def change(self, image_id: str, wanted: ImageChange, library: str | None) -> str:
        opened = self._open(library)
        point = change(opened, self._writer(), image_id, wanted)
        return _json({"image_id": point.image_id} | dict(point.payload))

    def remove(self, image_id: str, library: str | None) -> str:
        opened = self._open(library)
        remove(opened, self._writer(), image_id)
        return _json({"removed": image_id})

    def _writer(self) -> Caller:
        return with_scope(self._caller, "write")

    def _open(self, library: str | None) -> OpenLibrary:
        return self._libraries.open(self._caller, library)

    def _found(self, asked: SearchRequest, heading: str) -> list[Any]:
        answer = search(self._libraries, self._caller, asked)
        hits = [
            {
                "rank": hit.rank,
                "image_id": hit.image_id,
                "relevance": hit.relevance,
                "band": hit.band,
                **{
                    name: hit.payload[name]
                    for name in ("captions", "title", "tags", "people", "taken", "camera")
                    if name in hit.payload
                },
                **({"copies": len(hit.copies)} if hit.copies else {}),
            }
            for hit in answer.hits
        ]
        told: dict[str, Any] = {"library": answer.library, "hits": hits, "notices": answer.notices}
        if not answer.hits and answer.partial:
            told["nearest"] = [hit.image_id for hit in answer.partial]
        opened = self._open(asked.library)
        points = [Point(hit.image_id, None, hit.payload) for hit in answer.hits]
        return [_json(told), *_shown(opened, points, heading)]


def _shown(library: OpenLibrary, points: Sequence[Point], heading: str = "") -> list[Image]:
    """The pictures as an assistant can see them: few one by one, many on a sheet."""
    thumbnails: dict[str, bytes] = {}
    for point in points:
        try:
            thumbnails[point.image_id] = thumbnail(library, point)
        except Refused:  # its file is away; on a sheet it is a grey cell
            continue
    if len(points) <= _MOST_SINGLE:
        return [Image(data=data, format="jpeg") for data in thumbnails.values()]
    entries = []
    for rank, point in enumerate(points, start=1):
        content = str(point.payload.get("sha256", ""))
        path = safe_thumbnail_path(library.files.thumbnails, content)
        original = library.installation.originals.original(point.payload)
        title = f"{rank}. {point.image_id}"
        entries.append(SheetEntry(path or original, title, notes_of(point.payload)))
    buffer = io.BytesIO()
    contact_sheet(heading, entries).save(buffer, "JPEG", quality=80)
    return [Image(data=buffer.getvalue(), format="jpeg")]


def _json(document: Any) -> str:
    return json.dumps(document, ensure_ascii=False)


def make_assistant(service: Service, *, allow_write: bool = False) -> MCPServer:
    """The MCP server over this service; it changes something only with `allow_write`, and only
    for keys that may."""
    server = MCPServer(
        "scenesearch",
        title="Photograph search",
        instructions=_INSTRUCTIONS,
        log_level="WARNING",  # it says of each start what nobody can use
    )

    async def run(
        context: Context,
        do: Callable[..., _T],
        *args: Any,
    ) -> _T:
        """The work, in a thread, for whoever asks."""
        try:
            return await service.workers.run(
                lambda: do(Assistant(service, _caller(context)), *args)
            )
        except SceneSearchError as error:
            raise ToolError(str(refusal_of(error))) from None

    @server.tool(annotations=_READS, structured_output=False)
    async def search_pictures(
        context: Context,
        text: Text = "",
        where: Where = "",
        limit: Limit = 8,
        library: LibraryName = None,
    ) -> list[Any]:
        """Find photographs that show a scene, pass filters, or both. The answer lists them by
        relevance and shows them."""
        return await run(context, Assistant.search, text, where, limit, library)

    @server.tool(annotations=_READS, structured_output=False)
    async def similar_pictures(
        context: Context,
        image_id: ImageId,
        where: Where = "",
        limit: Limit = 8,
        library: LibraryName = None,
    ) -> list[Any]:
        """Find photographs that look like one of the library."""
        return await run(context, Assistant.similar, image_id, where, limit, library)

    @server.tool(annotations=_READS, structured_output=False)
    async def describe_picture(
        context: Context,
        image_id: ImageId,
        text: Text = "",
        library: LibraryName = None,
    ) -> list[Any]:
        """All that is known of a photograph, with the picture; with `text` also what each word
        adds to its relevance."""
        return await run(context, Assistant.describe, image_id, text, library)

    @server.tool(annotations=_READS, structured_output=False)
    async def count(
        context: Context,
        where: Where = "",
        library: LibraryName = None,
    ) -> str:
        """How many photographs pass the filters; without filters all of the library."""
        return await run(context, Assistant.count, where, library)

    @server.tool(annotations=_READS, structured_output=False)
    async def list_libraries(context: Context) -> str:
        """The libraries, and how many photographs each has."""
        return await run(context, Assistant.libraries)

    @server.tool(annotations=_READS, structured_output=False)
    async def list_fields(
        context: Context,
        library: LibraryName = None,
    ) -> str:
        """The fields that `where` can filter by, with their types."""
        return await run(context, Assistant.fields, library)

    @server.resource("scenesearch://{library}/pictures/{+image_id}", mime_type="image/jpeg")
    async def picture(context: Context, library: str, image_id: str) -> bytes:
        """A photograph of a library, at most 320 pixels a side."""
        try:
            return await run(context, Assistant.thumbnail, image_id, library)
        except ToolError as error:
            raise ResourceError(str(error)) from None

    if allow_write and not service.settings.api_read_only:
        _add_writing(server, run)
    return server


def _add_writing(server: MCPServer, run: Any) -> None:
    """The tools that change something."""

    @server.tool(annotations=_WRITES, structured_output=False)
    async def change_picture(
        context: Context,
        image_id: ImageId,
        captions: list[str] | None = None,
        tags: list[str] | None = None,
        fields: dict[str, Any] | None = None,
        library: LibraryName = None,
    ) -> str:
        """Set captions, tags or custom fields of a photograph; what is left out stays."""
        wanted = ImageChange(captions=captions, tags=tags, fields=fields or {})
        return str(await run(context, Assistant.change, image_id, wanted, library))

    @server.tool(annotations=_WRITES, structured_output=False)
    async def remove_picture(
        context: Context,
        image_id: ImageId,
        library: LibraryName = None,
    ) -> str:
        """Remove a photograph from the library."""
        return str(await run(context, Assistant.remove, image_id, library))


def _caller(context: Context) -> Caller:
    """Whose key the request has; over standard input the one who started the command."""
    request = context.request_context.request
    if request is None:
        return LOCAL
    caller: Caller = request.scope[CALLER]
    return caller
