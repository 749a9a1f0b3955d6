"""`/v1/search`."""

import hashlib
from importlib.metadata import version
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response

from serve.models import FieldName, LibraryName, SearchAnswer, SearchRequest, Share
from serve.models import Text as QueryText
from serve.searching import search
from serve.service import Here, Reader

router = APIRouter(tags=["search"])

# A browser or a proxy of one user may keep an answer; before it shows it again, it asks.
_CACHED = {"Cache-Control": "private, no-cache", "Vary": "Authorization"}


@router.post("/v1/search")
async def search_post(asked: SearchRequest, caller: Reader, here: Here) -> SearchAnswer:
    """Find the pictures that show a scene, look like a picture, or pass filters."""
    return await here.workers.run(search, here.libraries, caller, asked)


@router.get("/v1/search", responses={304: {"description": "The answer has not changed."}})
async def search_get(
    request: Request,
    response: Response,
    caller: Reader,
    here: Here,
    library: LibraryName | None = None,
    q: Annotated[QueryText, Query(description="A scene in the grammar of the search box.")] = "",
    where: Annotated[QueryText, Query(description="Filters in the grammar of --where.")] = "",
    sort: FieldName | None = None,
    limit: Annotated[int, Query(ge=1)] = 10,
    after: Annotated[str | None, Query(max_length=16_384)] = None,
    facet: Annotated[list[FieldName], Query(max_length=32)] = [],  # noqa: B006 - FastAPI copies it
    min_relevance: Share | None = None,
    if_none_match: Annotated[str | None, Header()] = None,
) -> SearchAnswer:
    """The same for links and caches. The ETag changes with the library."""
    asked = SearchRequest(
        library=library,
        text=q,
        where=where,
        sort=sort,
        limit=limit,
        after=after,
        facets=facet,
        min_relevance=min_relevance,
    )

    def answer() -> tuple[str | None, SearchAnswer | None]:
        opened = here.libraries.open(caller, library)
        # Before the search: what is written in the meantime makes another version.
        if (pictures := opened.version()) is None:
            return None, search(here.libraries, caller, asked)
        parts = (version("scenesearch"), opened.name, pictures, opened.scope(caller))
        digest = hashlib.sha256(f"{parts}\n{request.url.query}".encode()).hexdigest()
        etag = f'"{digest[:32]}"'
        if etag_matches(if_none_match, etag):
            return etag, None
        return etag, search(here.libraries, caller, asked)

    etag, found = await here.workers.run(answer)
    headers = {} if etag is None else {"ETag": etag, **_CACHED}
    if found is None:
        return Response(status_code=304, headers=headers)  # type: ignore[return-value]
    response.headers.update(headers)
    return found


def etag_matches(given: str | None, etag: str) -> bool:
    """Whether a client's If-None-Match holds for this ETag; a proxy may have made it weak."""
    if given is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in given.split(",")]
    return "*" in tags or etag in tags
