"""Twins of exceptions: as the one that is kept in all that can be asked of them, and another one."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.core.exceptions import twin
from anabranch.core.failures import capture, rebuild, without_frames
from anabranch.core.reports import ErrorInfo

if TYPE_CHECKING:
    from collections.abc import Callable


class WantsMore(Exception):
    def __init__(self, code: int, *, where: str) -> None:
        super().__init__(f"{code} at {where}")
        self.code = code
        self.where = where


class Slotted(ValueError):
    __slots__ = ("number", "unset")

    def __init__(self, number: int) -> None:
        self.number = number


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    number: int


class Answers(Exception):
    def __getattr__(self, name: str) -> Any:
        raise KeyError(name)


class OfAFile(OSError):
    def __init__(self, path: str) -> None:
        super().__init__(2, "no such file", path)
        self.path = path


class Grouped(ExceptionGroup):
    def __new__(cls, tag: str) -> Grouped:
        self = super().__new__(cls, "several", [ValueError(1), KeyError("k")])
        self.tag = tag
        return self

    def __init__(self, tag: str) -> None:
        pass


class Counts(Exception):
    """Nothing of its class may be called for a twin."""

    made = 0

    def __new__(cls, *args: Any) -> Counts:
        cls.made += 1
        return super().__new__(cls, *args)


class Closes(Exception):
    """There must be one only: its end does something."""

    def __del__(self) -> None:
        pass


def raised(work: Callable[[], object]) -> BaseException:
    with pytest.raises(BaseException) as found:  # noqa: PT011
        work()
    return found.value


MAKE: dict[str, Callable[[], BaseException]] = {
    "plain": lambda: ValueError("a", 2),
    "bare": KeyError,
    "wants more": lambda: WantsMore(1, where="there"),
    "slots": lambda: Slotted(3),
    "frozen": lambda: Frozen(4),
    "answers": lambda: Answers("a"),
    "os": lambda: FileNotFoundError(2, "no", "file"),
    "renamed": lambda: OSError(2, "no", "file", None, "other"),
    "os of its own": lambda: OfAFile("there"),
    "unicode": lambda: raised(lambda: b"\xff".decode()),
    "encode": lambda: raised(lambda: "\udc80".encode()),
    "syntax": lambda: raised(lambda: compile("1 +", "file", "exec")),
    "json": lambda: raised(lambda: json.loads("{")),
    "import": lambda: raised(lambda: __import__("no_such_module")),
    "attribute": lambda: raised(lambda: object().foo),  # type: ignore[attr-defined]
    "group": lambda: ExceptionGroup("several", [ValueError(1)]),
    "base group": lambda: BaseExceptionGroup("several", [KeyboardInterrupt()]),
    "group of its own": lambda: Grouped("a"),
    "stop": lambda: StopIteration(5),
    "exit": lambda: SystemExit(3),
    "subprocess": lambda: subprocess.CalledProcessError(1, "x"),
    "cancelled": lambda: asyncio.CancelledError("c"),
}


def asked(error: BaseException) -> Any:
    kept = dict(BaseException.__dict__["__dict__"].__get__(error))
    kept.pop("__notes__", None)
    names = ("errno", "filename", "filename2", "start", "msg", "value", "code", *getattr(type(error), "__slots__", ()))
    more = [getattr(error, name, None) for name in names if not isinstance(error, Answers)]
    return type(error), str(error), repr(error), error.args, kept, more


@pytest.mark.parametrize("how", MAKE)
def test_a_twin_is_as_the_other(how: str) -> None:
    error = raised(lambda: raise_it(MAKE[how]()))
    BaseException.__dict__["__cause__"].__set__(error, RuntimeError("why"))
    found = twin(error)
    assert found is not error
    assert asked(found) == asked(error)
    assert found.__cause__ is error.__cause__
    assert (found.__suppress_context__, found.__context__) == (error.__suppress_context__, error.__context__)
    if isinstance(error, BaseExceptionGroup) and isinstance(found, BaseExceptionGroup):
        assert found.exceptions == error.exceptions


def raise_it(error: BaseException) -> None:
    raise error


def test_what_a_twin_gathers_is_its_own() -> None:
    error = ValueError("a")
    error.add_note("from the task")
    found = twin(error)
    found.add_note("from a reader")
    raised(lambda: raise_it(found))
    assert error.__notes__ == ["from the task"]
    assert error.__traceback__ is None
    assert found.__traceback__ is not None


def test_no_code_of_the_class_is_called() -> None:
    error = Counts("a")
    twin(error)
    assert Counts.made == 1


def test_of_some_there_is_but_one() -> None:
    error = Closes("a")
    assert twin(error) is error


@pytest.mark.parametrize("in_process", [True, False])
@pytest.mark.parametrize("make", [lambda: ValueError("a"), lambda: Closes("a"), lambda: Frozen(1)])
def test_what_is_rebuilt_has_its_traceback_once(make: Callable[[], BaseException], in_process: bool) -> None:
    """Also where the task had notes of its own, which come before it."""
    error = make()
    if not isinstance(error, Frozen):
        error.add_note("from the task")
    info = capture(raised(lambda: raise_it(error)), in_process=in_process)
    for _ in range(3):
        found = rebuild(info)
        raised(lambda found=found: raise_it(found))
        notes = found.__notes__
        assert [note.partition("\n")[0] for note in notes[-1:]] == ["traceback where it ran:"]
        assert notes[:-1] == ([] if isinstance(error, Frozen) else ["from the task"])
        assert "raise_it" in notes[-1]


def test_what_is_kept_of_one_that_leaves_has_no_frames_at_all() -> None:
    """Those of its cause, and of a group's members, are its caller's to see, and not to be kept."""

    def fails() -> None:
        try:
            raise_it(KeyError("k"))
        except KeyError as cause:
            raise ExceptionGroup("several", [raised(lambda: raise_it(ValueError(1)))]) from cause

    error = raised(fails)
    found = without_frames(error)
    assert isinstance(found, ExceptionGroup)
    assert isinstance(error, ExceptionGroup)
    assert [one.__traceback__ is None for one in (found, found.__cause__, *found.exceptions)] == [True] * 3  # type: ignore[union-attr]
    assert [one.__traceback__ is None for one in (error, error.__cause__, *error.exceptions)] == [False] * 3  # type: ignore[union-attr]
    assert (str(found), str(found.__cause__), repr(found.exceptions)) == (
        str(error), str(error.__cause__), repr(error.exceptions)
    )  # fmt: skip


def test_what_cannot_travel_is_told_the_same_way_each_time() -> None:
    info = ErrorInfo("Odd", "message", "trace")
    assert str(rebuild(info)) == str(rebuild(info))
    assert rebuild(info) is not rebuild(info)
