"""Writes docs/reference/http.md from the application's own routes: `make docs`."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from anabranch.records.service.memory import memory_service
from anabranch.server.app import make_app
from anabranch.server.declared import ROLES

PAGE = Path(__file__).parent / "reference" / "http.md"
HEAD = """# The server's API

`anabranch server start` serves these routes; `make docs` writes this page. A request names its key in a header
`Authorization: Bearer KEY`. Bodies and answers are JSON, at most 8 MiB. Fields that the server does not know are
ignored, and named in a header `Warning`. An error is problem JSON with `type`, `title`, `status` and `detail`.
`GET /api/v1/health/openapi.json` is the OpenAPI document, with all types.

Roles are `viewer`, `operator`, `editor` and `admin`, each with the rights of those before it; `agent`, of one pool or
all; and `run`, a driver's key for its own run. `open` needs no key.
"""
TABLE = "| route | roles | query | body | answer | what it does |\n|---|---|---|---|---|---|"


def page() -> str:
    """The whole page as Markdown."""
    service = memory_service()
    app = make_app(service)
    service.close()
    parts, noun = [HEAD], ""
    for route in app.routes:
        if route.tags[0] == "records":  # msgpack between one version of anabranch and another
            continue
        if route.tags[0] != noun:
            noun = str(route.tags[0])
            parts += [f"\n## {noun}\n", TABLE]
        parts.append(_row(route))
    return "\n".join(parts) + "\n"


def _row(route: Any) -> str:
    query = ", ".join(f"`{one.alias}`" for one in route.dependant.query_params)
    body = _kind(route.body_field.field_info.annotation) if route.body_field else ""
    told = " ".join(inspect.getdoc(route.endpoint).split())
    answer = _kind(inspect.signature(route.endpoint, eval_str=True).return_annotation)
    method = next(iter(route.methods))
    cells = (f"`{method} {route.path}`", ", ".join(route.openapi_extra[ROLES]), query, body, answer, told)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _kind(kind: Any) -> str:
    """A type in a few words."""
    if kind is None or kind is type(None):
        return ""
    name = str(kind) if getattr(kind, "__args__", None) else kind.__name__
    return f"`{name.rpartition('.')[2] if '[' not in name else _short(name)}`"


def _short(name: str) -> str:
    outer, _, inner = name.partition("[")
    return f"{outer}[{', '.join(one.rpartition('.')[2] for one in inner[:-1].split(', '))}]"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
