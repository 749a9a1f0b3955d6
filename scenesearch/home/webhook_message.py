"""What a webhook is sent: JSON of the new pictures of a collection, with an id and a signature.

The headers are those that receivers of GitHub's webhooks know: X-Hub-Signature-256 is the
HMAC-SHA256 of the body with the secret that both sides share.
"""

import hashlib
import hmac
import json
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import Any

from scenesearch.home.database import now
from scenesearch.search.answer import Hit

# More pictures are told in several messages.
MAX_PICTURES = 200

MIN_SECRET, MAX_SECRET = 16, 200


def in_messages(hits: Sequence[Hit]) -> Iterator[Sequence[Hit]]:
    """The hits in parts, a message each."""
    for start in range(0, len(hits), MAX_PICTURES):
        yield hits[start : start + MAX_PICTURES]


def told(library: str, collection: str, hit: Hit) -> dict[str, Any]:
    """What is told of a new picture, by whatever way."""
    return {"library": library, "collection": collection, **hit.to_json()}


def message_of(delivery_id: str, library: str, collection: str, hits: Sequence[Hit]) -> bytes:
    """The body that tells of these pictures."""
    document = {
        "delivery": delivery_id,
        "library": library,
        "collection": collection,
        "created": now(),
        "pictures": [told(library, collection, hit) for hit in hits],
    }
    return json.dumps(document).encode()


def headers_of(delivery_id: str, body: bytes, secret: str | None) -> dict[str, str]:
    """The headers that go with the body; without a secret it is not signed."""
    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"scenesearch/{version('scenesearch')}",
        "X-Scenesearch-Delivery": delivery_id,
    }
    if secret is not None:
        digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        headers["X-Hub-Signature-256"] = f"sha256={digest}"
    return headers
