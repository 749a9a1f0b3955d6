"""The server answers whatever the OpenAPI document allows without a failure of its own."""

import io
from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from PIL import Image

from serve.app import routed_app
from tests.serve_process import Server

pytestmark = pytest.mark.slow

EXAMPLES = 40
DOCUMENT = routed_app().openapi()
OPERATIONS = [(method, path) for path, methods in DOCUMENT["paths"].items() for method in methods]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a picture."""
    server = Server(tmp_path_factory.mktemp("data"))
    buffer = io.BytesIO()
    Image.new("RGB", (16, 12), "red").save(buffer, "PNG")
    kind = {"Content-Type": "image/png"}
    job = server.client.post("/v1/images?name=a.png", content=buffer.getvalue(), headers=kind)
    server.over(job.json()["id"])
    yield server
    server.kill()


@pytest.mark.parametrize("method, path", OPERATIONS)
def test_no_request_makes_the_server_fail(server: Server, method: str, path: str) -> None:
    cases = schemathesis.openapi.from_dict(DOCUMENT)[path][method].as_strategy()

    @settings(
        max_examples=EXAMPLES,
        suppress_health_check=[*HealthCheck],
        derandomize=True,
        database=None,
    )
    @given(case=cases)
    def ask(case: schemathesis.Case) -> None:
        response = case.call(base_url=str(server.client.base_url))
        assert response.status_code < 500, response.text
        if response.status_code >= 400:
            assert response.headers["content-type"] == ["application/problem+json"]

    ask()
