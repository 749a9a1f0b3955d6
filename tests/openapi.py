"""The OpenAPI document of the server, kept in docs/openapi.json; make openapi writes it anew."""

import json
from pathlib import Path

from serve.app import routed_app

FILE = Path(__file__).parents[1] / "docs" / "openapi.json"


def document() -> str:
    return json.dumps(routed_app().openapi(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(document(), encoding="utf-8")
