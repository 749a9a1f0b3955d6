"""Saved collections, `/v1/collections`, and the webhooks that watch them, `/v1/webhooks`."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Response

from serve.collections import collection_answer, collections_of
from serve.models import (
    CollectionAnswer,
    CollectionName,
    CollectionsAnswer,
    LibraryName,
    NewWebhook,
    WebhookAnswer,
    WebhooksAnswer,
)
from serve.problems import Refused
from serve.service import Here, Reader, Writer
from serve.webhooks import (
    add_webhook,
    delete_webhook,
    try_webhook,
    webhook_answer,
    webhooks_of,
)

router = APIRouter(tags=["collections"])

Counted = Annotated[bool, Query(description="Count their pictures, which asks each request.")]


@router.get("/v1/collections")
async def collections(
    caller: Reader, here: Here, library: LibraryName | None = None, count: Counted = True
) -> CollectionsAnswer:
    """The saved collections of a library, those saved last first."""
    return await here.workers.run(collections_of, here.libraries, caller, library, count=count)


@router.get("/v1/collections/{name:path}")
async def collection(
    name: str,
    caller: Reader,
    here: Here,
    library: LibraryName | None = None,
    limit: Annotated[int, Query(ge=1)] = 10,
    after: Annotated[str | None, Query(max_length=16_384)] = None,
    count: Counted = True,
) -> CollectionAnswer:
    """A collection with the pictures that it holds now."""
    most = here.settings.api_max_limit
    if limit > most:
        raise Refused(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"limit: {limit} pictures are asked for, this server gives at most {most}; the next "
            "ones come with `after`",
        )
    return await here.workers.run(
        collection_answer,
        here.libraries,
        caller,
        library,
        name,
        limit=limit,
        after=after,
        count=count,
    )


@router.post(
    "/v1/webhooks",
    status_code=201,
    responses={200: {"model": WebhookAnswer, "description": "It was there; it got the secret."}},
)
async def webhook_new(
    asked: NewWebhook, response: Response, caller: Writer, here: Here
) -> WebhookAnswer:
    """Have an address called with what a collection gets from now on."""
    answer, is_new = await here.workers.run(add_webhook, here.libraries, here.keys, caller, asked)
    response.headers["Location"] = f"/v1/webhooks/{answer.id}"
    if not is_new:
        response.status_code = HTTPStatus.OK
    return answer


@router.get("/v1/webhooks")
async def webhooks(
    caller: Reader,
    here: Here,
    library: LibraryName | None = None,
    collection: CollectionName | None = None,
) -> WebhooksAnswer:
    """The key's own webhooks, with what was not accepted yet; the scope admin sees all."""
    return await here.workers.run(
        webhooks_of, here.libraries, here.keys, caller, library, collection
    )


@router.get("/v1/webhooks/{webhook_id}")
async def webhook(webhook_id: str, caller: Reader, here: Here) -> WebhookAnswer:
    """How a webhook is doing."""
    return await here.workers.run(webhook_answer, here.libraries, here.keys, caller, webhook_id)


@router.post("/v1/webhooks/{webhook_id}/try")
async def webhook_try(webhook_id: str, caller: Writer, here: Here) -> WebhookAnswer:
    """Send what waits at once, for example when the address works again."""
    return await here.workers.run(try_webhook, here.libraries, here.keys, caller, webhook_id)


@router.delete("/v1/webhooks/{webhook_id}", status_code=204)
async def webhook_end(webhook_id: str, caller: Writer, here: Here) -> None:
    """Delete a webhook, with what it was not told yet."""
    await here.workers.run(delete_webhook, here.libraries, caller, webhook_id)
