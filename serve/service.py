"""What the routes share: the libraries, the threads, and who asks."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from scenesearch.home.settings import Settings
from serve.gate import CALLER
from serve.jobs import Jobs
from serve.keys import Caller, Keys, Scope
from serve.libraries import Libraries
from serve.problems import Refused
from serve.webhook_delivery import WebhookDelivery
from serve.workers import Workers


@dataclass
class Service:
    """A server's own state; everything that must outlive it is in the store and the data folder."""

    settings: Settings
    libraries: Libraries
    keys: Keys
    workers: Workers
    jobs: Jobs
    webhooks: WebhookDelivery
    is_stopping: bool = False

    def start(self) -> None:
        """Go on with the jobs and webhooks of an earlier server."""
        if not self.settings.api_read_only:
            self.jobs.start()
            self.webhooks.start()

    def close(self) -> None:
        """Once all requests have ended."""
        self.webhooks.close()
        self.jobs.close()
        self.workers.close()
        self.libraries.close()


# Dependencies are coroutines: FastAPI would run a plain function in a thread, which takes longer
# than the function.
async def _service(request: Request) -> Service:
    found: Service = request.app.state.service
    return found


Here = Annotated[Service, Depends(_service)]

# For the OpenAPI document; the gate has checked the key before the body was read.
_bearer = HTTPBearer(auto_error=False, description="A key of SCENESEARCH_API_KEYS.")


async def _caller(request: Request, _: Annotated[object, Depends(_bearer)]) -> Caller:
    caller: Caller = request.scope[CALLER]  # without the gate nothing is answered
    return caller


def with_scope(caller: Caller, scope: Scope) -> Caller:
    """The caller, refused where its key has not the scope."""
    if not caller.may(scope):
        raise Refused(HTTPStatus.FORBIDDEN, f"key {caller.name} has not the scope {scope}")
    return caller


async def _reader(caller: Annotated[Caller, Depends(_caller)]) -> Caller:
    return with_scope(caller, "read")


async def _writer(caller: Annotated[Caller, Depends(_caller)], here: Here) -> Caller:
    if here.settings.api_read_only:
        raise Refused(HTTPStatus.FORBIDDEN, "this server only reads (SCENESEARCH_API_READ_ONLY)")
    return with_scope(caller, "write")


async def _admin(caller: Annotated[Caller, Depends(_caller)]) -> Caller:
    return with_scope(caller, "admin")


Reader = Annotated[Caller, Depends(_reader)]
Writer = Annotated[Caller, Depends(_writer)]
Admin = Annotated[Caller, Depends(_admin)]
