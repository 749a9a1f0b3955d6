"""Asks a `scenesearch serve` over HTTP. What goes wrong is told in one sentence for the page.

The key is sent to this server alone: no redirect is followed, and nothing of it reaches a browser.
"""

import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import httpx

from scenesearch.errors import SceneSearchError, first_line
from scenesearch.search.request import QueryError

_CONNECT_S = 5.0
# The server ends a request after SCENESEARCH_API_TIMEOUT_S and says so; this is longer.
_ANSWER_S = 120.0
# The server closes a connection that is idle for 5 s: one that may just be ending is not used.
_IDLE_S = 2.0
_CONNECTIONS = 32
# A busy server is asked once more, after the time that it names.
_LONGEST_WAIT_S = 3.0

_WRONG_REQUEST = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
)


class ApiError(SceneSearchError):
    """The server did not give what was asked for; the message is one sentence for the user."""


class ApiUnavailableError(ApiError):
    """The server cannot be reached, or cannot answer now."""


class ApiKeyRefusedError(ApiError):
    """The page's key is none of the server's, or does not allow what was asked for."""


class ApiBusyError(ApiError):
    """The server has too much to do."""


class ApiVersionError(ApiError):
    """The server is another version, or something else answers at its address."""


class ApiMissingError(ApiError):
    """The server has no such picture or library."""


class ApiClient:
    """A server by its address, with the key that it knows. Threads may share it."""

    def __init__(self, url: str, key: str | None) -> None:
        self.url = url.rstrip("/")
        self._http = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(_ANSWER_S, connect=_CONNECT_S),
            limits=httpx.Limits(
                max_connections=_CONNECTIONS,
                max_keepalive_connections=_CONNECTIONS,
                keepalive_expiry=_IDLE_S,
            ),
        )

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The JSON at this path."""
        return self._json(self._ask("GET", path, params=params))

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The JSON that answers this one."""
        return self._json(self._ask("POST", path, json=body))

    def data(
        self, path: str, params: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """The bytes at this path, with the headers that describe them."""
        return self._ask("GET", path, params=params, headers=headers)

    def close(self) -> None:
        self._http.close()

    def _ask(self, method: str, path: str, **parts: Any) -> httpx.Response:
        response = self._once(method, path, **parts)
        if response.status_code == HTTPStatus.TOO_MANY_REQUESTS:
            time.sleep(_wait_of(response))
            response = self._once(method, path, **parts)
        self._check(response)
        return response

    def _once(self, method: str, path: str, **parts: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **parts)
        except httpx.TimeoutException:
            raise ApiUnavailableError(f"the API server {self.url} did not answer in time") from None
        except httpx.HTTPError as error:
            reason = first_line(error) or type(error).__name__
            raise ApiUnavailableError(
                f"the API server {self.url} cannot be reached: {reason}"
            ) from None

    def _check(self, response: httpx.Response) -> None:
        """Raise what the status says."""
        if response.is_success:
            return
        status, said = response.status_code, _detail(response)
        if status == HTTPStatus.UNAUTHORIZED:
            raise ApiKeyRefusedError(
                f"the API server {self.url} does not know the key in SCENESEARCH_API_KEY"
            )
        if status == HTTPStatus.FORBIDDEN:
            raise ApiKeyRefusedError(f"the API server {self.url} refuses: {said or 'forbidden'}")
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            raise ApiBusyError(f"the API server {self.url} says: {said or 'too many requests'}")
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise ApiUnavailableError(
                f"the API server {self.url} says: {said or f'error {status}'}"
            )
        if said and status in _WRONG_REQUEST:
            raise QueryError(said)
        if said and status == HTTPStatus.NOT_FOUND and not said.startswith("there is nothing at"):
            raise ApiMissingError(said)
        raise self.not_understood(f"status {status}")

    def _json(self, response: httpx.Response) -> dict[str, Any]:
        try:
            found = response.json()
        except ValueError:
            raise self.not_understood("no JSON") from None
        if not isinstance(found, dict):
            raise self.not_understood("no JSON object")
        return found

    def not_understood(self, what: str) -> ApiVersionError:
        """The error for an answer that this page cannot use."""
        return ApiVersionError(
            f"{self.url} is no API server of this version of scenesearch: it answers with {what}"
        )


def _wait_of(response: httpx.Response) -> float:
    given = response.headers.get("Retry-After", "")
    return min(float(given), _LONGEST_WAIT_S) if given.isdigit() else 1.0


def _detail(response: httpx.Response) -> str:
    """The sentence of a problem document; '' of anything else."""
    if "problem+json" not in response.headers.get("Content-Type", ""):
        return ""
    try:
        found = response.json()
    except ValueError:
        return ""
    return str(found.get("detail", ""))[:1000] if isinstance(found, dict) else ""
