"""The page over a Qdrant server: it brings pictures in, answers, outlives an outage, and reads only
where it is told to. The server is the loopback double, behind a cable that can be pulled."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from scenesearch.store.base import StoreError
from scenesearch.store.server import ServerStore
from tests.integration.qdrant_loopback import QdrantLoopback
from tests.integration.tcp_proxy import TcpProxy
from tests.unit.test_ui_states import ask, cards, headings, texts
from tests.unit.test_ui_states import page_of_its_own as page_of_its_own  # each test's fixture
from tests.unit.ui_world import LIBRARY, open_page
from ui import ingest_jobs, resources
from ui.settings import read_settings_again

pytestmark = pytest.mark.filterwarnings("ignore:Local mode performs exact:UserWarning")

WRITER, READER = "writer", "reader"


@pytest.fixture
def cable(monkeypatch: pytest.MonkeyPatch) -> Iterator[TcpProxy]:
    """The way to a server that the page's settings name."""
    double = QdrantLoopback(api_key=WRITER, read_only_api_key=READER)
    cable = TcpProxy(double.port)
    monkeypatch.setenv("SCENESEARCH_QDRANT_URL", f"http://127.0.0.1:{double.rest_port}")
    monkeypatch.setenv("SCENESEARCH_QDRANT_GRPC_PORT", str(cable.port))
    monkeypatch.setenv("SCENESEARCH_QDRANT_API_KEY", WRITER)
    monkeypatch.setenv("SCENESEARCH_QDRANT_TIMEOUT_S", "5")
    yield cable
    cable.stop()
    double.close()


def bring_in(photos: Path) -> None:
    job = ingest_jobs.start_ingest([photos], title="Adding")
    resources.jobs().wait(60)
    assert job.state == "done", job.error


def test_the_page_brings_pictures_into_a_server_and_finds_them(
    cable: TcpProxy, photos: Path, page_of_its_own: None
) -> None:
    bring_in(photos)
    page = ask(open_page(), "red")
    assert not page.exception
    assert "red.jpg" in cards(page)
    assert isinstance(resources.store(), ServerStore)


@pytest.mark.slow
def test_an_outage_is_told_and_over_after_trying_again(
    cable: TcpProxy, photos: Path, page_of_its_own: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCENESEARCH_QDRANT_TIMEOUT_S", "2")
    bring_in(photos)
    open_page()
    cable.stop()
    page = ask(open_page(), "red")
    assert headings(page) == [":material/error: The store does not answer"]
    cable.start()
    for _ in range(10):  # the client's own pauses grow while nothing answers
        page = page.button(key="retry").click().run()
        if "red.jpg" in cards(page):
            return
    pytest.fail(f"still {texts(page)}")


def test_a_page_for_the_public_asks_with_the_key_that_cannot_write(
    cable: TcpProxy, photos: Path, page_of_its_own: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring_in(photos)
    monkeypatch.setenv("SCENESEARCH_PAGE_READ_ONLY", "true")
    monkeypatch.setenv("SCENESEARCH_QDRANT_READ_ONLY_API_KEY", READER)
    read_settings_again()
    resources.store().close()
    resources.store.clear()
    assert "red.jpg" in cards(ask(open_page(), "red"))
    with pytest.raises(StoreError):
        resources.store().delete(LIBRARY, ["red.jpg"])
