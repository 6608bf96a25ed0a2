"""Exceptions that leave their process: type, message, attributes, causes and groups survive, on all runners alike."""

from __future__ import annotations

import importlib
import pickle
import subprocess
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cloudpickle
import pytest

from anabranch.core.errors import RemoteError
from anabranch.core.exceptions import build
from anabranch.core.failures import capture, rebuild

if TYPE_CHECKING:
    from collections.abc import Callable


class TwoArgs(Exception):
    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"{where}: {why}")
        self.where, self.why = where, why


class NoArgs(Exception):
    def __init__(self) -> None:
        super().__init__("always the same words")


class KeywordOnly(Exception):
    def __init__(self, message: str, *, code: int) -> None:
        super().__init__(message)
        self.code = code


class Says(Exception):
    """Calling it with what it has makes another message."""

    def __init__(self, code: int) -> None:
        super().__init__(f"status {code}")


class Slotted(Exception):
    __slots__ = ("code",)

    def __init__(self, code: int) -> None:
        super().__init__("slotted")
        self.code = code


@dataclass(frozen=True)
class Frozen(Exception):
    code: int
    where: str = "here"


class File(OSError):
    def __init__(self, path: str) -> None:
        super().__init__(2, "not there", path)


class Decoding(UnicodeDecodeError):
    def __init__(self) -> None:
        super().__init__("utf-8", b"\xff", 0, 1, "bad")


class New(Exception):
    def __new__(cls, *args: Any, **kwargs: Any) -> New:
        if not kwargs:
            raise RuntimeError("made with code= only")
        return super().__new__(cls, "made so")

    def __init__(self, *, code: int) -> None:
        self.code = code


class Group(ExceptionGroup[Exception]):
    def __new__(cls, found: list[Exception]) -> Group:
        return super().__new__(cls, "a group of its own", found)

    def __init__(self, found: list[Exception]) -> None:
        self.found = len(found)


class Own(Exception):
    """Says itself how it is pickled."""

    def __init__(self, code: int, lock: Any) -> None:
        super().__init__(f"own {code}")
        self.code, self.lock = code, lock

    def __reduce__(self) -> Any:
        return Own, (self.code, None)


class Refusing(TwoArgs):
    def __reduce__(self) -> Any:
        raise TypeError("not to be pickled")


class NoWords(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


class Delegates(Exception):
    def __init__(self, fields: dict[str, Any]) -> None:
        super().__init__("api")
        self.fields = fields

    def __getattr__(self, name: str) -> Any:
        return self.__dict__["fields"][name]


class Asserted(BaseException):
    pass


MAKERS: dict[str, Callable[[], BaseException]] = {
    "two": lambda: TwoArgs("disk", "full"),
    "none": NoArgs,
    "keyword": lambda: KeywordOnly("bad answer", code=503),
    "says": lambda: Says(404),
    "slotted": lambda: Slotted(7),
    "frozen": lambda: Frozen(5),
    "file": lambda: File("/data/x.csv"),
    "oserror": lambda: OSError(2, "not there", "/a", None, "/b"),
    "decode": lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
    "encode": lambda: UnicodeEncodeError("utf-8", "\udcff", 0, 1, "bad"),
    "translate": lambda: UnicodeTranslateError("x", 0, 1, "bad"),
    "decoding": Decoding,
    "new": lambda: New(code=3),
    "group": lambda: ExceptionGroup("two", [ValueError("a"), TwoArgs("b", "c")]),
    "base group": lambda: BaseExceptionGroup("two", [KeyboardInterrupt(), TwoArgs("b", "c")]),
    "own group": lambda: Group([ValueError("a"), KeywordOnly("b", code=1)]),
    "own": lambda: Own(4, threading.Lock()),
    "refusing": lambda: Refusing("a", "b"),
    "no words": NoWords,
    "delegates": lambda: Delegates({}),
    "base": lambda: Asserted("base"),
    "process": lambda: subprocess.CalledProcessError(3, ["false"], b"out", b"err"),
    "exit": lambda: SystemExit(3),
    "stop": lambda: StopIteration(5),
    "import": lambda: ImportError("no", name="mod", path="/x"),
    "attribute": lambda: AttributeError("no", name="attr", obj=threading.Lock()),
    "name": lambda: NameError("no", name="n"),
    "syntax": lambda: SyntaxError("no", ("f.py", 1, 2, "text", 1, 3)),
    "key": lambda: KeyError(("a", 1)),
    "many": lambda: ValueError(*range(5)),
    "surrogates": lambda: ValueError("\udcff"),
}


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as found:
        return found


def travelled(error: BaseException) -> Any:
    info = capture(raised(error), in_process=False, dumps=cloudpickle.dumps)
    return rebuild(pickle.loads(pickle.dumps(info)))


def words(error: BaseException) -> str:
    try:
        return str(error)
    except ValueError:
        return "no words"


@pytest.fixture(params=[False, pytest.param(True, marks=pytest.mark.dask)], ids=["", "dask"])
def beside_dask(request: pytest.FixtureRequest) -> None:
    """Where Dask is loaded, exceptions are pickled in a way of its own."""
    if request.param:
        importlib.import_module("distributed")


ATTRIBUTES = (
    *("where", "why", "code", "errno", "strerror", "filename", "filename2", "encoding", "object", "start", "end"),
    *("reason", "found", "message", "fields", "returncode", "cmd", "output", "stderr", "value", "name", "path"),
    *("msg", "lineno", "text"),
)  # fmt: skip


@pytest.mark.parametrize("kind", sorted(MAKERS))
@pytest.mark.usefixtures("beside_dask")
def test_an_exception_comes_as_it_was(kind: str) -> None:
    error, back = MAKERS[kind](), travelled(MAKERS[kind]())
    assert type(back) is type(error)
    assert words(back) == words(error)
    if not isinstance(error, BaseExceptionGroup):
        assert back.args == error.args
    for name in ATTRIBUTES:
        had = getattr(type(error), name, vars(error).get(name)) is not None
        if had:
            assert getattr(back, name, None) == getattr(error, name, None), name
    assert any("traceback where it ran" in note for note in object.__getattribute__(back, "__notes__"))


@pytest.mark.parametrize("kind", ["group", "base group", "own group"])
def test_the_exceptions_of_a_group_come_along(kind: str) -> None:
    error, back = MAKERS[kind](), travelled(MAKERS[kind]())
    assert isinstance(error, BaseExceptionGroup)
    assert [(type(e), str(e)) for e in back.exceptions] == [(type(e), str(e)) for e in error.exceptions]
    assert vars(back.exceptions[1]) == vars(error.exceptions[1])
    assert back.split(ValueError)[1] is not None


class Holder(Exception):
    def __init__(self, **held: Any) -> None:
        super().__init__("holds")
        self.__dict__.update(held)


def test_an_attribute_that_cannot_travel_is_left_out_and_the_rest_is_kept() -> None:
    back = travelled(Holder(lock=threading.Lock(), code=5, inner=TwoArgs("a", "b"), nested=[threading.Lock()]))
    assert type(back) is Holder
    assert back.code == 5
    assert type(back.inner) is TwoArgs
    assert not hasattr(back, "lock")
    assert not hasattr(back, "nested")


def test_an_argument_that_cannot_travel_reads_as_it_did() -> None:
    error = ValueError("bad", threading.Lock())
    back = travelled(error)
    assert type(back) is ValueError
    assert str(back) == str(error)


def test_attributes_that_hold_one_another_come_to_an_end() -> None:
    error = Holder(code=1)
    error.me = error  # type: ignore[attr-defined]
    back = travelled(error)
    assert (type(back), back.code) == (Holder, 1)


@pytest.mark.usefixtures("beside_dask")
def test_what_it_was_raised_from_comes_along() -> None:
    def fails() -> None:
        try:
            try:
                raise TwoArgs("disk", "full")
            except TwoArgs:
                raise KeyError("while at it")  # noqa: B904
        except KeyError as error:
            raise ValueError("wrapped") from error

    with pytest.raises(ValueError, match="wrapped") as caught:
        fails()
    back = travelled(caught.value)
    assert type(back.__cause__) is KeyError
    assert back.__cause__ is back.__context__
    assert type(back.__cause__.__context__) is TwoArgs
    assert back.__cause__.__context__.why == "full"
    assert back.__suppress_context__


def test_a_cause_that_does_not_travel_does_not_keep_the_error_from_it() -> None:
    class Local(Exception):
        lock = threading.Lock()

    error = ValueError("wrapped")
    error.__cause__ = Local("stays")
    back = travelled(error)
    assert type(back) is ValueError
    assert isinstance(back.__cause__, RemoteError)
    assert "stays" in str(back.__cause__)


def test_a_long_chain_is_cut() -> None:
    error: BaseException = ValueError(0)
    for n in range(1, 1000):
        error, before = ValueError(n), error
        error.__cause__ = before
    back = travelled(error)
    assert (type(back), back.args) == (ValueError, (999,))
    assert back.__cause__.args == (998,)


def test_a_class_that_does_not_travel_is_told_in_words() -> None:
    class Local(Exception):
        lock = threading.Lock()

    back = travelled(Local("stays"))
    assert isinstance(back, RemoteError)
    assert back.message == "stays"


def test_words_that_are_lost_on_the_way_are_noted() -> None:
    class Addressed(Exception):
        def __str__(self) -> str:
            return f"at {id(self)}"

    error = Addressed()
    back = travelled(error)
    assert type(back).__qualname__ == type(error).__qualname__
    assert any(str(error) in note for note in back.__notes__)


def test_notes_come_along_and_the_traceback_is_one_more_once() -> None:
    error = ValueError("noted")
    error.add_note("row 17")
    info = capture(raised(error), in_process=False, dumps=cloudpickle.dumps)
    for _ in range(3):
        back = rebuild(info)
    assert back.__notes__[0] == "row 17"
    assert len(back.__notes__) == 2


def test_no_code_of_its_class_runs_when_it_is_built() -> None:
    ran = []

    class Loud(Exception):
        def __init__(self, *args: Any) -> None:
            ran.append(args)

        def __setattr__(self, name: str, value: Any) -> None:
            ran.append((name, value))

    back = build(Loud, ("a",), {}, {"code": 1}, None)
    assert (type(back), back.args, vars(back), ran) == (Loud, ("a",), {"code": 1}, [])


@pytest.mark.parametrize("kind", ["frozen", "delegates", "no words", "slotted"])
def test_in_the_same_process_the_object_is_kept(kind: str) -> None:
    error = raised(MAKERS[kind]())
    info = capture(error, in_process=True)
    assert info.exception is error
    assert type(rebuild(info)) is type(error)
    assert rebuild(info) is not error, "what is raised of it gathers frames"
    assert object.__getattribute__(error, "__traceback__") is None
    assert "in raised" in info.traceback, "with the way to where it was raised"
