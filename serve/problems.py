"""Errors as problem documents (RFC 9457): our one sentence is the `detail`."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from scenesearch.encoder.base import EncoderError
from scenesearch.errors import SceneSearchError, obstacle
from scenesearch.home.feedback import FeedbackError
from scenesearch.home.saved_collections import CollectionError
from scenesearch.home.settings import SettingsError
from scenesearch.home.uploads import UploadError
from scenesearch.home.webhooks import TooManyWebhooks
from scenesearch.notebook import OriginalUnavailable
from scenesearch.pictures.opening import ImageError
from scenesearch.pictures.originals import OriginalError
from scenesearch.pictures.records import LibraryNameError
from scenesearch.runtime.events import LOGGER
from scenesearch.search.request import QueryError
from scenesearch.store.base import (
    CollectionMissing,
    CollectionUnfinished,
    EncoderMismatch,
    IndexBusy,
    StoreUnavailable,
)

MEDIA_TYPE = "application/problem+json"

# What a client is told that should come back later, seconds.
RETRY_AFTER_S = 2


class Problem(BaseModel):
    """Why a request was not answered (RFC 9457)."""

    type: str = "about:blank"
    title: Annotated[str, Field(description="The HTTP status in words.")]
    status: int
    detail: Annotated[str, Field(description="What was wrong, in one sentence.")]


class Refused(SceneSearchError):  # noqa: N818 - says what happened
    """A request that is not answered, with the status that says why."""

    def __init__(
        self, status: HTTPStatus, detail: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = dict(headers or {})


def not_found(detail: str) -> Refused:
    return Refused(HTTPStatus.NOT_FOUND, detail)


def come_back(status: HTTPStatus, detail: str, after_s: int = RETRY_AFTER_S) -> Refused:
    """The refusal of a request that may be answered a little later."""
    return Refused(status, detail, {"Retry-After": str(after_s)})


# What the server lacks, not the request. The errors' own sentences name folders, addresses and
# processes of the server: they are logged, and a client reads these.
_LACKS: tuple[tuple[type[SceneSearchError], str], ...] = (
    (CollectionUnfinished, "the library is being made"),
    (IndexBusy, "another process is using the library"),
    (StoreUnavailable, "the store does not answer now"),
    (EncoderError, "the encoder of the library cannot be used"),
    (EncoderMismatch, "the encoder of the library cannot be used"),
)

# The client's mistakes. Any other of our errors is the server's.
_STATUS: tuple[tuple[type[SceneSearchError], HTTPStatus], ...] = (
    (OriginalUnavailable, HTTPStatus.NOT_FOUND),
    (OriginalError, HTTPStatus.NOT_FOUND),
    (QueryError, HTTPStatus.BAD_REQUEST),
    (FeedbackError, HTTPStatus.BAD_REQUEST),
    (ImageError, HTTPStatus.BAD_REQUEST),
    (UploadError, HTTPStatus.BAD_REQUEST),
    (LibraryNameError, HTTPStatus.BAD_REQUEST),
    (CollectionError, HTTPStatus.NOT_FOUND),  # they are only read
    (TooManyWebhooks, HTTPStatus.CONFLICT),
    (SettingsError, HTTPStatus.BAD_REQUEST),
)


def refusal_of(error: SceneSearchError) -> Refused:
    """The error as a refusal, whatever it was raised for; what is the server's fault is logged."""
    refused = as_refused(error)
    if refused is not error and refused.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        LOGGER.error("request failed: %s", error, extra={"event": "request"})
    return refused


def as_refused(error: SceneSearchError) -> Refused:
    """The error in words that a client may read."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, CollectionMissing):  # its own sentence lists all libraries
        return not_found("there is no such library")
    lacks = next((what for kind, what in _LACKS if isinstance(error, kind)), None)
    if lacks is not None:
        return come_back(HTTPStatus.SERVICE_UNAVAILABLE, f"{lacks}; try again")
    for kind, status in _STATUS:
        if isinstance(error, kind):
            return Refused(status, str(error))
    return Refused(
        HTTPStatus.INTERNAL_SERVER_ERROR, "something is wrong on the server; its log says what"
    )


def problem_response(
    status: int, detail: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    title = HTTPStatus(status).phrase
    problem = Problem(title=title, status=status, detail=detail)
    return JSONResponse(
        problem.model_dump(), status, headers=dict(headers or {}), media_type=MEDIA_TYPE
    )


def response_of(refused: Refused) -> JSONResponse:
    return problem_response(refused.status, str(refused), refused.headers)


# For the OpenAPI document; with these FastAPI does not describe errors of its own form.
RESPONSES: dict[int | str, dict[str, Any]] = {
    kind: {
        "description": what,
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for kind, what in (
        ("4XX", "The request cannot be answered; `detail` says why in one sentence."),
        ("5XX", "The server cannot answer now; `detail` says why in one sentence."),
    )
}


def install_problems(app: FastAPI) -> None:
    """Answer every error of the application with a problem document."""

    @app.exception_handler(SceneSearchError)
    async def ours(request: Request, error: SceneSearchError) -> JSONResponse:
        return response_of(refusal_of(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return problem_response(HTTPStatus.UNPROCESSABLE_ENTITY, sentence_of(error.errors()))

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        detail = {
            HTTPStatus.NOT_FOUND: f"there is nothing at {request.url.path[:200]}",
            HTTPStatus.METHOD_NOT_ALLOWED: f"{request.method} is not possible here",
        }.get(HTTPStatus(error.status_code), str(error.detail))
        return problem_response(error.status_code, detail, error.headers)

    @app.exception_handler(OSError)
    async def disk(request: Request, error: OSError) -> JSONResponse:
        LOGGER.error("request failed: %s", obstacle(error) or error, extra={"event": "request"})
        return problem_response(
            HTTPStatus.INTERNAL_SERVER_ERROR, "the server cannot use its disk; its log says why"
        )

    @app.exception_handler(Exception)
    async def bug(request: Request, error: Exception) -> JSONResponse:
        # Starlette raises it again behind this, and the server logs it with its traceback.
        return problem_response(
            HTTPStatus.INTERNAL_SERVER_ERROR,
            "an error in the program; the log of the server has its details",
        )


def sentence_of(errors: Any) -> str:
    """The first error of a validation: 'limit: Input should be greater than or equal to 1'."""
    first = errors[0]
    _, *inside = first["loc"] or ("",)  # after 'body' or 'query'
    # Tags of unions, which serve/models.py begins with ~, are nothing a client has written.
    place = [str(part) for part in inside if not str(part).startswith("~")]
    message = str(first["msg"]).removeprefix("Value error, ")
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{'.'.join(place) or 'the request'}: {message}{more}"[:1000]
