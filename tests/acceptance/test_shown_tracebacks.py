"""What a traceback shows: the frames of the user's own code, those where it ran among them, and none of ours."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import traceback
from typing import TYPE_CHECKING, Any

import pytest

import anabranch
from anabranch import as_completed, flow, task
from anabranch.core.errors import UpstreamError
from anabranch.core.tracebacks import shown

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

OURS = os.path.dirname(anabranch.__file__) + os.sep


def inner(x: Any) -> None:
    try:
        {}["key"]
    except KeyError as error:
        raise ValueError(f"bad {x}") from error


@task
def bad(x: Any) -> None:
    inner(x)


@task
async def bad_async(x: Any) -> None:
    inner(x)


@task
def bad_items(x: Any) -> Iterator[Any]:
    yield x
    inner(x)


@task
async def bad_async_items(x: Any) -> AsyncIterator[Any]:
    yield x
    inner(x)


@task
def of_another(x: Any) -> None:
    bad.submit(x).result()


@flow
def own(x: Any) -> None:
    inner(x)


@flow
def of_task(x: Any) -> None:
    bad.submit(x).result()


@flow
def unhandled(x: Any) -> None:
    bad.map([x, x])


@flow
def around(x: Any) -> None:
    of_task(x)


@flow
async def async_flow(x: Any) -> None:
    await bad_async.submit(x)


async def awaited(what: Any) -> None:
    await what


async def made_there(make: Callable[[], Any]) -> None:
    await make()


async def read(items: Any) -> None:
    async for _ in items:
        pass


def run(coroutine: Any) -> None:
    asyncio.run(coroutine)


WAYS: dict[str, Callable[[], object]] = {
    "call": lambda: bad(1),
    "async call": lambda: run(awaited(bad_async(1))),
    "items": lambda: list(bad_items(1)),
    "async items": lambda: run(read(bad_async_items(1))),
    "result": lambda: bad.submit(1).result(),
    "state": lambda: bad.submit(1).wait().result(),
    "call's state": lambda: bad(1, return_state=True).result(),
    "await": lambda: run(made_there(lambda: bad.submit(1))),
    "list": lambda: bad.map([1, 2]).result(),
    "await list": lambda: run(made_there(lambda: bad.map([1, 2]))),
    "results": lambda: list(bad.map([1, 2]).results()),
    "next": lambda: next(bad.map([1, 2]).results()),
    "async for": lambda: run(read(bad.map([1, 2]).results())),
    "as completed": lambda: [one.result() for one in as_completed(bad.map([1, 2]))],
    "item": lambda: bad.map([1, 2])[1].result(),
    "states": lambda: bad.map([1, 2]).wait()[1].result(),
    "nested": lambda: of_another.submit(1).result(),
    "flow": lambda: own(1),
    "flow's task": lambda: of_task(1),
    "flow's unhandled": lambda: unhandled(1),
    "subflow": lambda: around(1),
    "submitted flow": lambda: around.submit(1).result(),
    "flow's state": lambda: of_task(1, return_state=True).result(),
    "async flow": lambda: run(awaited(async_flow(1))),
}


def asked(ask: Callable[[], object]) -> BaseException:
    try:
        ask()
    except ValueError as error:
        return error
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize("how", WAYS)
def test_no_frame_of_ours_is_shown(runner: str, how: str) -> None:
    error = asked(WAYS[how])
    text = "".join(traceback.format_exception(error))
    assert f'File "{OURS}' not in text
    assert f'File "{__file__}"' in text
    assert 'raise ValueError(f"bad {x}")' in text  # where it ran: in a frame or in the note
    assert type(error.__cause__) is KeyError
    assert traceback.extract_tb(error.__traceback__)[0].name == "asked"


def test_an_upstream_that_failed_is_shown_as_the_cause(runner: str) -> None:
    with pytest.raises(UpstreamError) as found:
        bad(bad.submit(1))
    text = "".join(traceback.format_exception(found.value))
    assert type(found.value.__cause__) is ValueError
    assert f'File "{OURS}' not in text
    assert 'raise ValueError(f"bad {x}")' in text


def test_all_frames_are_shown_when_asked_for(threads: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shown, "full", True)
    text = "".join(traceback.format_exception(asked(WAYS["result"])))
    assert f'File "{OURS}' in text


def test_a_defect_in_the_package_shows_where_it_is(threads: str) -> None:
    future = bad.submit(1)
    future.wait()
    future._map.handled = None  # type: ignore[assignment]
    with pytest.raises(TypeError) as found:
        future.result()
    assert traceback.extract_tb(found.value.__traceback__)[-1].filename.startswith(OURS)


SCRIPT = """
from anabranch import task

@task
def odd(x):
    raise ValueError(f"odd {x}")

if __name__ == "__main__":
    odd.map(range(3)).result()
"""


@pytest.mark.parametrize("chosen", ["thread", "process"])
def test_a_script_ends_with_its_own_lines(tmp_path: Path, chosen: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)

    def ended(**more: str) -> str:
        given = {"HOME": str(tmp_path / "home"), "RUNNER": chosen, "PROGRESS": "false", **more}
        environ = {**os.environ, **{f"ANABRANCH_{name}": value for name, value in given.items()}}
        done = subprocess.run([sys.executable, str(script)], env=environ, capture_output=True, text=True, timeout=100)
        assert done.returncode == 1
        return done.stderr

    text = ended()
    assert OURS not in text
    assert text.count("Traceback (most recent call last)") == 2
    first, _, where = text.partition("traceback where it ran:")
    assert "odd.map(range(3)).result()" in first
    assert where.rstrip().endswith('line 6, in odd\n    raise ValueError(f"odd {x}")\nValueError: odd 0')
    assert OURS in ended(FULL_TRACEBACKS="1")
