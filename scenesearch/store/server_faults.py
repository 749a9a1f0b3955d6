"""What a server's failure means: try again, a wrong key, no such collection, or a refusal."""

import json
from dataclasses import dataclass
from typing import Literal

import grpc  # type: ignore[import-untyped]
import httpx
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

Kind = Literal["passing", "down", "key", "missing", "refused"]

_NO_QDRANT = "what answers there is no Qdrant server"
_PASSING_STATUS = frozenset({408, 429, 502, 503, 504})
_PASSING_CODE = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED"})


@dataclass(frozen=True)
class Fault:
    """A failed request, understood.

    'passing' may succeed when repeated; 'down' is a server's own failure or no Qdrant at all;
    'key' a refused API key; 'missing' an unknown collection; 'refused' a request it will not do.
    """

    kind: Kind
    text: str
    retry_after_s: float = 0.0


def understand(error: Exception) -> Fault | None:
    """The fault behind a client's exception; None when it is a mistake of ours."""
    match error:
        case ResourceExhaustedResponse():
            return Fault("passing", "it limits requests", error.retry_after_s)
        case UnexpectedResponse():
            return _from_status(error.status_code or 0, error.content)
        case ResponseHandlingException():
            return _from_transport(error.source)
        case grpc.RpcError():
            return _from_code(error.code().name, " ".join((error.details() or "").split())[:300])
        case json.JSONDecodeError():
            return Fault("down", _NO_QDRANT)
        case ValueError() if "not found" in str(error):  # the client's in-memory mode
            return Fault("missing", str(error))
    return None


def _from_status(status: int, content: bytes) -> Fault:
    text = _said(content)
    if status in (401, 403):
        return Fault("key", text)
    if status in _PASSING_STATUS:
        return Fault("passing", f"status {status}")
    if status == 404 and "ollection" in text:
        return Fault("missing", text)
    if status == 404 or status < 400:
        return Fault("down", _NO_QDRANT)
    if status >= 500:
        return Fault("down", f"status {status}: {text}")
    return Fault("refused", text)


def _from_transport(source: Exception) -> Fault:
    if isinstance(source, httpx.TimeoutException):
        return Fault("passing", "no answer in time")
    if isinstance(source, httpx.UnsupportedProtocol | httpx.InvalidURL):
        return Fault("refused", str(source))
    if isinstance(source, httpx.TransportError):
        refused = "onnection refused" in str(source)
        return Fault("passing", "connection refused" if refused else str(source) or "no connection")
    return Fault("down", _NO_QDRANT)


def _from_code(code: str, text: str) -> Fault:
    if code in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
        return Fault("key", text)
    if code == "RESOURCE_EXHAUSTED" and "larger than max" in text:
        return Fault("refused", text)
    if code in _PASSING_CODE:
        return Fault("passing", "connection refused" if "refused" in text else text)
    if code == "NOT_FOUND":
        return Fault("missing", text)
    if code in ("INVALID_ARGUMENT", "ALREADY_EXISTS", "FAILED_PRECONDITION", "OUT_OF_RANGE"):
        return Fault("refused", text)
    return Fault("down", f"{code.lower()}: {text}")


def _said(content: bytes) -> str:
    """The server's own words, from its JSON answer where it is one."""
    try:
        answer = json.loads(content)
    except ValueError:
        return " ".join(content.decode(errors="replace").split())[:200]
    status = answer.get("status") if isinstance(answer, dict) else None
    return str(status["error"] if isinstance(status, dict) and "error" in status else answer)[:300]
