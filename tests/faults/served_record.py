"""A server of a record in a process of its own: `served_record.py FILE-OR-ADDRESS PORT [FOLDER]`.

It stops for ever, and makes a file of the same name beside it, where FOLDER has one of these: `hold-commit` (rows are
written and not committed), `hold-answer` (a frame is committed and not answered).
"""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn

from anabranch.records import open_records
from anabranch.records.served import ServedRecord
from anabranch.records.service.memory import memory_service
from anabranch.server.app import make_app

if TYPE_CHECKING:
    from collections.abc import Iterator


def hold(folder: Path | None, what: str) -> None:
    if folder is not None and (folder / f"hold-{what}").exists():
        (folder / f"held-{what}").touch()
        threading.Event().wait()


def main(path: str, port: int, folder: Path | None) -> None:
    records: Any = open_records(path)
    database = records.database
    transaction = database.transaction

    @contextmanager
    def held(connection: Any) -> Iterator[None]:
        with transaction(connection):
            yield
            hold(folder, "commit")

    database.transaction = held
    served = ServedRecord(records)
    frame = served.frame

    def answered(body: bytes, sent: float | None, run: str = "", token: int = 0) -> Any:
        answer = frame(body, sent, run, token)
        hold(folder, "answer")
        return answer

    served.frame = answered  # type: ignore[method-assign]
    app = make_app(memory_service(), records=served)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="critical", lifespan="off", access_log=False)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]) if len(sys.argv) > 3 else None)
