"""Webhooks as their owners see them: made, listed, tried again, deleted.

`webhook_delivery.py` calls them.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

from scenesearch.home.database import as_time
from scenesearch.home.saved_collections import find_collection
from scenesearch.home.webhooks import Webhook, Webhooks
from scenesearch.runtime.http_post import addresses_of
from scenesearch.runtime.web_address import HostList, PostError, parse_target
from serve.collections import members_of
from serve.keys import Caller, Keys
from serve.libraries import Libraries
from serve.models import DeliveryAnswer, NewWebhook, WebhookAnswer, WebhooksAnswer
from serve.problems import Refused, not_found
from serve.webhook_delivery import owner_of


def add_webhook(
    libraries: Libraries, keys: Keys, caller: Caller, asked: NewWebhook
) -> tuple[WebhookAnswer, bool]:
    """A webhook of the caller, and whether it is new; refused for an address that may not be
    called."""
    library = libraries.open(caller, asked.library)
    collection = find_collection(library.files.saved_requests, asked.collection)
    try:
        local = HostList(libraries.installation.settings.api_webhook_hosts)
        addresses_of(parse_target(asked.url), local)
    except PostError as error:
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, f"url: {error}") from None
    hits = [] if asked.all else list(members_of(library, caller, collection))
    with Webhooks(library.files.folder) as webhooks:
        webhook, is_new = webhooks.add(
            collection.name,
            asked.url,
            asked.secret.get_secret_value(),
            caller.name,
            collection.asked,
            caller.where,
            hits,
        )
        return _answer(webhooks, keys, library.name, webhook), is_new


def webhooks_of(
    libraries: Libraries, keys: Keys, caller: Caller, asked: str | None, collection: str | None
) -> WebhooksAnswer:
    """The caller's own webhooks of a library; the scope admin sees all."""
    library = libraries.name(caller, asked)
    folder = libraries.installation.files(library).folder
    if not Webhooks.exist(folder):
        return WebhooksAnswer(webhooks=[])
    with Webhooks(folder) as webhooks:
        found = [
            _answer(webhooks, keys, library, one)
            for one in webhooks.all()
            if _is_seen(caller, one) and collection in (None, one.collection)
        ]
    return WebhooksAnswer(webhooks=found)


def webhook_answer(
    libraries: Libraries, keys: Keys, caller: Caller, webhook_id: str
) -> WebhookAnswer:
    with _found(libraries, caller, webhook_id) as (library, webhooks, webhook):
        return _answer(webhooks, keys, library, webhook)


def delete_webhook(libraries: Libraries, caller: Caller, webhook_id: str) -> None:
    """Delete it, with what waits."""
    with _found(libraries, caller, webhook_id) as (_, webhooks, webhook):
        webhooks.delete(webhook.id)


def try_webhook(libraries: Libraries, keys: Keys, caller: Caller, webhook_id: str) -> WebhookAnswer:
    """Try what waits at once."""
    with _found(libraries, caller, webhook_id) as (library, webhooks, webhook):
        webhooks.try_now(webhook.id)
        return _answer(webhooks, keys, library, webhooks.find(webhook.id) or webhook)


@contextmanager
def _found(
    libraries: Libraries, caller: Caller, webhook_id: str
) -> Iterator[tuple[str, Webhooks, Webhook]]:
    """The webhook of this id and its library; refused where it is none of the caller's."""
    for library in libraries.visible(caller):
        folder = libraries.installation.files(library).folder
        if Webhooks.exist(folder):
            with Webhooks(folder) as webhooks:
                webhook = webhooks.find(webhook_id)
                if webhook is not None and _is_seen(caller, webhook):
                    yield library, webhooks, webhook
                    return
    raise not_found(f"there is no webhook {webhook_id[:100]}")


def _is_seen(caller: Caller, webhook: Webhook) -> bool:
    return webhook.owner == caller.name or caller.may("admin")


def _answer(webhooks: Webhooks, keys: Keys, library: str, webhook: Webhook) -> WebhookAnswer:
    problem = webhook.problem
    if owner_of(webhook, keys, library) is None:
        problem = f"the key {webhook.owner} is gone, or may not write to this library any more"
    failing = webhook.failures > 0
    return WebhookAnswer(
        id=webhook.id,
        library=library,
        collection=webhook.collection,
        url=webhook.url,
        owner=webhook.owner,
        created=webhook.created,
        state="paused" if problem else "failing" if failing else "active",
        problem=problem,
        delivered=webhook.delivered,
        last_delivered=webhook.last_delivered,
        next_try=as_time(time.time() + webhook.pause_s) if failing else None,
        waiting=[
            DeliveryAnswer(
                id=one.id,
                created=one.created,
                pictures=one.pictures,
                tries=one.tries,
                error=one.error,
            )
            for one in webhooks.waiting(webhook)
        ],
    )
