"""Two sessions in one program do not get into each other's way."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import InlineRunner, ThreadRunner, flow, settings, task
from anabranch import session as sessions
from anabranch.core.errors import RunnerError
from anabranch.records.memory import MemoryRecords

if TYPE_CHECKING:
    from pathlib import Path


def made(home: Path) -> sessions.Session:
    chosen = settings.load({}, home=home, runner=InlineRunner(), progress=False)
    return sessions.Session(chosen, records=MemoryRecords())


def test_a_closed_session_leaves_the_others_alone(tmp_path: Path) -> None:
    @flow
    def main() -> Any:
        return task(lambda: 1).submit()

    older, newer = made(tmp_path / "older"), made(tmp_path / "newer")
    before = sessions.use(older)
    try:
        newer.close()
        assert main() == 1
    finally:
        sessions.use(before)
        older.close()


def test_a_runner_that_its_user_has_closed_is_forgotten(tmp_path: Path) -> None:
    """A notebook makes many in its life: `with ThreadRunner() as runner`."""
    here = made(tmp_path)
    before = sessions.use(here)
    try:
        with ThreadRunner(max_workers=1) as runner:

            @flow(runner=runner)
            def main() -> int:
                return 1

            assert main() == 1
            here.runners.close_idle(1000.0)
            assert main() == 1, "it is open: it stays"
            seen = weakref.ref(runner)
        here.runners.close_idle(1000.0)
        assert here.runners.known == {}
        with pytest.raises(RunnerError, match="starts only once"):
            main()
        del main, runner
        gc.collect()
        assert seen() is None
    finally:
        sessions.use(before)
        here.close()
