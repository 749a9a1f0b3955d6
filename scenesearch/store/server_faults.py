"""What a server's failure means: try again, a wrong key, a missing collection, or a refusal."""

import json
import re
from dataclasses import dataclass
from typing import Literal

import grpc  # type: ignore[import-untyped]
import httpx
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

Kind = Literal["passing", "down", "key", "read only", "limited", "missing", "refused"]

_NO_QDRANT = "what answers there is no Qdrant server"
_PASSING_STATUS = frozenset({408, 429, 502, 503, 504})
_LOST_STATUS = frozenset({502, 503, 504})
_PASSING_CODE = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED"})

# Internal errors that pass by themselves: a collection, shard or replica is being created or moved,
# a leader elected, a peer lost. The messages are those of Qdrant 1.19.
_PASSES = re.compile(
    # A search in the first second of a collection (0 of 0); a peer is lost (1 of 1).
    r"\d+ of \d+ read operations failed"
    # A replica has not caught up yet, or its peer has just been lost.
    r"|does not have enough active replicas|no active replica|is not active"
    # The cluster elects a leader, or cannot reach most of its peers.
    r"|leader is not established within|Waiting for consensus operation commit failed"
    # One peer asks another that is starting or gone.
    r"|Tonic status error: .*(unavailable|transport error)"
    r"|Replica set is not available",
    re.IGNORECASE,
)
_CLUSTER_CHANGES = "the cluster is not ready yet"

# Reasons why a server cannot be reached, in the words of any library.
_UNREACHED = (
    (re.compile("refused", re.I), "connection refused"),
    (
        re.compile(r"lookup|resolv|name or service|nodename|no address associated|dns", re.I),
        "its name cannot be resolved",
    ),
    (re.compile(r"no route|unreachable", re.I), "there is no route to it"),
    (re.compile(r"timed? ?out|deadline", re.I), "no answer in time"),
    (re.compile(r"reset|closed|broken pipe|EOF|disconnected|GOAWAY", re.I), "connection lost"),
)


@dataclass(frozen=True)
class Fault:
    """What a failed request means.

    'passing' may succeed when repeated. 'down' is a failure of the server, or no Qdrant at all.
    'key' is a refused API key, 'read only' one that may not write, 'limited' one for some
    collections only. 'missing' is an unknown collection, 'refused' a request the server rejects.
    With `lost`, another node of a cluster may answer.
    """

    kind: Kind
    text: str
    retry_after_s: float = 0.0
    lost: bool = False


def understand(error: Exception) -> Fault | None:
    """The fault behind an exception of the client; None for a bug of ours."""
    match error:
        case ResourceExhaustedResponse():
            return Fault("passing", "it limits requests", error.retry_after_s)
        case UnexpectedResponse():
            return _from_status(error.status_code or 0, error.content)
        case ResponseHandlingException():
            return _from_transport(error.source)
        case grpc.RpcError():
            return _from_code(error.code().name, " ".join((error.details() or "").split())[:300])
        case OSError():  # no connection to the address
            return _unreached(str(error))
        case json.JSONDecodeError():
            return Fault("down", _NO_QDRANT)
        case ValueError() if "not found" in str(error):  # the client's in-memory mode
            return Fault("missing", str(error))
    return None


def _from_status(status: int, content: bytes) -> Fault:
    text = _said(content)
    if status in (401, 403):
        return _key(text)
    if status in _PASSING_STATUS:
        return Fault("passing", f"status {status}", lost=status in _LOST_STATUS)
    if status == 404 and "ollection" in text:
        return Fault("missing", text)
    if status == 404 or status < 400:
        return Fault("down", _NO_QDRANT)
    if status >= 500 and _PASSES.search(text):
        return Fault("passing", _CLUSTER_CHANGES, lost=True)
    if status >= 500:
        return Fault("down", f"status {status}: {text}")
    return Fault("refused", text)


def _from_transport(source: Exception) -> Fault:
    if isinstance(source, httpx.TimeoutException):
        return Fault("passing", "no answer in time", lost=True)
    if isinstance(source, httpx.UnsupportedProtocol | httpx.InvalidURL):
        return Fault("refused", str(source))
    if isinstance(source, httpx.TransportError):
        return _unreached(str(source))
    return Fault("down", _NO_QDRANT)


def _from_code(code: str, text: str) -> Fault:
    if code in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
        return _key(text)
    if code == "RESOURCE_EXHAUSTED" and "larger than max" in text:
        return Fault("refused", text)
    if code == "RESOURCE_EXHAUSTED":
        return Fault("passing", text)
    if code in _PASSING_CODE:
        return _unreached(text)
    if code in ("INTERNAL", "UNKNOWN") and _PASSES.search(text):
        return Fault("passing", _CLUSTER_CHANGES, lost=True)
    if code == "NOT_FOUND":
        return Fault("missing", text)
    if code in ("INVALID_ARGUMENT", "ALREADY_EXISTS", "FAILED_PRECONDITION", "OUT_OF_RANGE"):
        return Fault("refused", text)
    return Fault("down", f"{code.lower()}: {text}")


def _key(text: str) -> Fault:
    # For a known key the server says what it lacks, over gRPC and REST in the same words.
    if re.search(r"global manage .*access is required|write access to collection", text, re.I):
        return Fault("read only", text)
    if re.search(r"access (to collection .*|for this operation )?is required", text, re.I):
        return Fault("limited", text)
    return Fault("key", text or "no reason was given")


def _unreached(text: str) -> Fault:
    said = next((words for pattern, words in _UNREACHED if pattern.search(text)), text)
    return Fault("passing", said or "no connection", lost=True)


def _said(content: bytes) -> str:
    """The server's own message, from its answer if that is JSON."""
    try:
        answer = json.loads(content)
    except ValueError:
        return " ".join(content.decode(errors="replace").split())[:200]
    status = answer.get("status") if isinstance(answer, dict) else None
    return str(status["error"] if isinstance(status, dict) and "error" in status else answer)[:300]
