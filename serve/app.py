"""The application: what is asked of a library, over HTTP."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from mcp.server.transport_security import TransportSecuritySettings
from pydantic.json_schema import models_json_schema
from starlette.routing import Route
from starlette.types import ASGIApp, Lifespan, Receive, Scope, Send

from serve.assistant import make_assistant
from serve.gate import Gate, Limits
from serve.models import NewImages
from serve.problems import RESPONSES, Problem, install_problems
from serve.routes import about, collections, embeddings, feedback, images, jobs, search
from serve.service import Service

_ABOUT = """Describe a scene in words, get the photographs that show it.

The grammar of `text` and `where` is that of the search box: docs/search.md.
"""


def make_app(service: Service, *, allow_write: bool = False) -> FastAPI:
    """The application over this service, which is closed with it. Assistants ask at /mcp; they
    change something only with `allow_write`."""
    assistant = make_assistant(service, allow_write=allow_write)
    # Without sessions, so that any of several servers answers. The gate has checked host and site.
    at_mcp = assistant.streamable_http_app(
        stateless_http=True,
        json_response=True,
        max_request_body_size=service.settings.api_body_mb * 10**6,
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.start()
        async with assistant.session_manager.run():
            yield
        service.close()

    app = routed_app(lifespan)
    # No stream of events: it would keep a place among the requests for hours.
    app.router.routes.append(Route("/mcp", _Posted(at_mcp), methods=["POST"]))
    app.state.service = service
    install_problems(app)
    settings = service.settings
    origins = _listed(settings.api_origins)
    limits = Limits(
        body_bytes=settings.api_body_mb * 10**6,
        body_s=settings.api_timeout_s,
        requests=settings.api_concurrency,
    )
    app.add_middleware(Gate, keys=service.keys, origins=origins, limits=limits)
    if origins:  # outside the gate, which would refuse a browser's question whether it may ask
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "Range"],
            expose_headers=["ETag", "Location", "Retry-After"],
        )
    return app


def routed_app(lifespan: Lifespan[FastAPI] | None = None) -> FastAPI:
    """The application with its routes and its OpenAPI document alone."""
    app = FastAPI(
        title="scenesearch",
        version=version("scenesearch"),
        description=_ABOUT,
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
        responses=RESPONSES,
    )
    for part in (search, collections, images, jobs, embeddings, feedback, about):
        app.include_router(part.router)
    _describe_more(app)
    return app


class _Posted:
    """An ASGI application as the endpoint of a route."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


def _describe_more(app: FastAPI) -> None:
    """Add the types to the OpenAPI document that no route takes or gives by its signature."""
    described = app.openapi

    def openapi() -> dict[str, Any]:
        document = described()
        _, more = models_json_schema(
            [(NewImages, "validation"), (Problem, "serialization")],
            ref_template="#/components/schemas/{model}",
        )
        document.setdefault("components", {}).setdefault("schemas", {}).update(more["$defs"])
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _listed(setting: str) -> list[str]:
    return [part.strip().rstrip("/") for part in setting.split(",") if part.strip()]
