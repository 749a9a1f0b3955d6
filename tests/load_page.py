"""Many visitors of a page at once, each a session of Streamlit's own protocol.

    python -m tests.load_page http://127.0.0.1:8501 --sessions 20 --seconds 120

Each asks one request after the other, as a browser does (a run of the script over a websocket),
and reads a picture of the answer. Reports requests, errors, and percentiles of the time to the
last element.
"""

import argparse
import asyncio
import json
import time
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import connect

REQUESTS = (
    "a dog running through snow",
    "two boats on the water",
    "a house with a tree",
    "children playing on the beach",
    "a red car on a road",
    "a bird over the sea",
)

# Between two requests of one visitor, who looks at the pictures.
THINKING_S = 1.0


@dataclass
class Visits:
    """Seconds of each answer, and what went wrong."""

    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        taken = np.array(self.seconds) if self.seconds else np.array([np.nan])
        p50, p95, p99 = (1000 * np.percentile(taken, q) for q in (50, 95, 99))
        return {
            "requests": len(self.seconds),
            "errors": len(self.errors),
            "p50_ms": round(float(p50)),
            "p95_ms": round(float(p95)),
            "p99_ms": round(float(p99)),
        }


async def visit_all(address: str, sessions: int, seconds: float) -> Visits:
    """So many visitors for so long; what they met."""
    visits = Visits()
    ends = time.monotonic() + seconds
    await asyncio.gather(*(_visit(address, number, ends, visits) for number in range(sessions)))
    return visits


async def _visit(address: str, number: int, ends: float, visits: Visits) -> None:
    url = address.replace("http", "ws", 1) + "/_stcore/stream"
    try:
        async with connect(
            url, subprotocols=["streamlit"], max_size=None, origin=address
        ) as socket:
            turn = number
            while time.monotonic() < ends:
                text = REQUESTS[turn % len(REQUESTS)]
                started = time.monotonic()
                media = await asyncio.wait_for(_ask(socket, text), 60)
                visits.seconds.append(time.monotonic() - started)
                if media:
                    await asyncio.to_thread(_read, f"{address}{media}")
                turn += 1
                await asyncio.sleep(THINKING_S)
    except Exception as error:  # whatever it is, it is a failed visit
        visits.errors.append(f"{type(error).__name__}: {error}")


async def _ask(socket: Any, text: str) -> str:
    """One run of the page with this request; the address of a picture that it shows."""
    message = BackMsg()
    message.rerun_script.is_history_navigation = True  # the address counts, not the box
    message.rerun_script.query_string = urllib.parse.urlencode({"q": text})
    await socket.send(message.SerializeToString())
    media, failed = "", ""
    while True:
        answer = ForwardMsg.FromString(await socket.recv())
        element = answer.delta.new_element
        if element.HasField("bidi_component"):
            told = json.loads(element.bidi_component.json)
            (first, *_) = told["items"]
            asked = urllib.parse.urlencode({"id": first["id"], "v": first["v"]})
            media = f"{told['base']}gallery/thumb?{asked}"
        if element.HasField("exception"):
            failed = element.exception.message
        if answer.HasField("script_finished"):
            if failed:
                raise RuntimeError(failed)
            if not media:
                raise RuntimeError(f"no picture for {text!r}")
            return media


def _read(url: str) -> None:
    with urllib.request.urlopen(url, timeout=30) as response:  # noqa: S310 - our own page
        response.read()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address", help="of a running page, as http://127.0.0.1:8501")
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=120)
    arguments = parser.parse_args()
    visits = asyncio.run(visit_all(arguments.address, arguments.sessions, arguments.seconds))
    print(json.dumps(visits.figures() | {"first_errors": visits.errors[:3]}, indent=1))


if __name__ == "__main__":
    main()
