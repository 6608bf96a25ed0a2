"""A line of a run is a record of `logging`, with all that records have, wherever it was logged."""

from __future__ import annotations

import logging
import os
import pickle
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from anabranch import flow, get_run_logger, logs, task
from anabranch import session as sessions
from anabranch.core.log_lines import ROOM, origin_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EXTRA = {"shard": 3, "names": ["a", "b"], "inner": {"x": (1, None, 2.5)}, "name_of_it": "text"}


class Odd:
    def __repr__(self) -> str:
        return "<odd>"


class Kept(logging.Handler):
    """Keeps records whose text has a word in it."""

    def __init__(self, word: str) -> None:
        super().__init__()
        self.word = word
        self.records: list[Any] = []

    def emit(self, record: logging.LogRecord) -> None:
        if self.word in record.getMessage():
            self.records.append(record)


@pytest.fixture
def kept() -> Iterator[list[Any]]:
    handler = Kept("said")
    logging.getLogger("anabranch").addHandler(handler)
    logging.getLogger("anabranch").setLevel(logging.INFO)
    yield handler.records
    logging.getLogger("anabranch").removeHandler(handler)


def speaks() -> None:
    logger = get_run_logger()
    logger.warning("said %s", "plainly", extra={**EXTRA, "odd": Odd()})
    try:
        raise ValueError("inside")
    except ValueError:
        logger.exception("said by exception")
    logger.info("said with a stack", stack_info=True)
    print("said by print")


@pytest.mark.parametrize("way", ["submit", "call", "flow", "async"])
def test_records_tell_where_they_come_from_and_what_else(runner: str, way: str, kept: list[Any]) -> None:
    @task
    def runs() -> None:
        speaks()

    @task
    async def awaits() -> None:
        speaks()

    ways: dict[str, Callable[[], object]] = {
        "submit": lambda: runs.submit().result(), "call": runs, "flow": speaks,
        "async": lambda: awaits.submit().result(),
    }  # fmt: skip

    @flow(log_prints=True)
    def main() -> None:
        ways[way]()

    main()
    first = speaks.__code__.co_firstlineno
    plain, caught, stacked, printed = kept
    assert [r.lineno - first for r in kept] == [2, 6, 7, 8]
    assert {(r.funcName, r.pathname, r.module) for r in kept} == {("speaks", __file__, "test_log_records")}
    assert {r.name for r in kept} == {"anabranch.flow_runs" if way == "flow" else "anabranch.task_runs"}
    assert {name: getattr(plain, name) for name in EXTRA} == EXTRA
    assert repr(plain.odd) in ("<odd>", "'<odd>'")
    assert "\n" not in caught.getMessage()
    assert caught.exc_text.endswith("ValueError: inside")
    near = runner in ("inline", "thread") or way in ("call", "flow")
    assert (caught.exc_info[0] if near else caught.exc_info) is (ValueError if near else None)
    assert "in speaks" in stacked.stack_info
    assert printed.getMessage().endswith("said by print")
    assert logging.Formatter().format(caught).count("Traceback") == 1


def test_the_record_of_runs_has_the_exception(runner: str) -> None:
    @flow
    def main() -> None:
        task(speaks).submit().result()

    main()
    records = sessions.current().records
    run = records.flow_runs(limit=1)[0]
    (line,) = [line for line in records.logs(run.id) if line.message.startswith("said by exception")]
    assert line.message.count("ValueError: inside") == 1


def test_secrets_are_masked_in_all_parts_of_a_record(runner: str, kept: list[Any]) -> None:
    secret = SecretStr("s3cr3t-of-lines")

    @task
    def tells(key: Any) -> None:
        text = key.get_secret_value()
        extra = {"flat": f"x{text}", "deep": [{"a": ("b", text)}]}
        try:
            raise ValueError(text)
        except ValueError:
            get_run_logger().exception("said %s", text, extra=extra)

    @flow
    def main() -> None:
        tells.submit(secret).wait()
        tells(secret)

    main()
    assert len(kept) == 2
    for record in kept:
        shown = f"{record.getMessage()} {record.exc_text} {record.flat} {record.deep}"
        assert "s3cr3t" not in shown


def test_attributes_of_the_programs_own_record_factory_are_no_trouble(runner: str, kept: list[Any]) -> None:
    before = logging.getLogRecordFactory()

    def factory(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = before(*args, **kwargs)
        record.trace_id = "of the factory"
        return record

    @task
    def tells() -> None:
        get_run_logger().info("said")

    @flow
    def main() -> None:
        get_run_logger().info("said")
        tells.submit().result()

    logging.setLogRecordFactory(factory)
    try:
        main()
    finally:
        logging.setLogRecordFactory(before)
    assert [r.trace_id for r in kept] == ["of the factory"] * 2


def _record(**extra: Any) -> logging.LogRecord:
    return logging.getLogger("x").makeRecord("x", 20, "path", 1, "text", (), None, "fn", extra)


class Evil:
    def __repr__(self) -> str:
        raise RuntimeError("not today")

    def __getattr__(self, name: str) -> Any:
        raise KeyError(name)


def _recursive() -> Any:
    items: list[Any] = []
    items.append(items)
    return items


@pytest.mark.parametrize(
    "value", ["x" * 10**7, [["x" * 1000] * 1000] * 1000, 10**50_000, Evil(), _recursive(), {Evil(): {Evil()}}, sys],
    ids=["text", "lists", "number", "evil", "recursive", "keys", "module"],
)  # fmt: skip
def test_what_leaves_its_process_is_small_and_plain(value: Any) -> None:
    origin = origin_of(_record(one=value, other=1), far=True, cut=logs.cut)
    assert origin.extra is not None
    assert len(pickle.dumps(origin)) < 4 * ROOM


def test_inside_the_process_objects_stay_themselves() -> None:
    one = Evil()
    origin = origin_of(_record(one=one), far=False, cut=logs.cut)
    assert origin.extra is not None
    assert origin.extra["one"] is one


# -- the program's own logging -----------------------------------------------------------------------


@pytest.fixture
def root() -> Iterator[list[Any]]:
    """What a handler of the program's own at its root logger hears of lines that have "said" in them."""
    handler = Kept("said")
    before = logging.root.level
    logging.root.addHandler(handler)
    logging.root.setLevel(logging.INFO)
    logging.getLogger("anabranch").setLevel(logging.INFO)
    logging.getLogger("lib.loud").setLevel(logging.DEBUG)
    logging.getLogger("lib.quiet").setLevel(logging.ERROR)
    yield handler.records
    logging.root.removeHandler(handler)
    logging.root.setLevel(before)


def test_the_programs_handlers_hear_all_loggers_of_tasks_once(runner: str, root: list[Any]) -> None:
    @task
    def tells(x: int) -> int:
        get_run_logger().info("said by the run")
        for name in ("lib", "lib.loud", "lib.quiet"):
            logging.getLogger(name).debug("said %s debug", x)
            logging.getLogger(name).info("said %s info", x, extra={"shard": x})
            logging.getLogger(name).error("said %s error", x)
        return x

    @flow
    def main() -> Any:
        get_run_logger().info("said by the flow")
        return tells.map(range(2), chunk=1).result()

    assert main() == [0, 1]
    found = sorted((r.name, r.levelname, getattr(r, "shard", None)) for r in root)
    lib = [
        *[("lib", "ERROR", None)] * 2, ("lib", "INFO", 0), ("lib", "INFO", 1),
        *[("lib.loud", "DEBUG", None)] * 2, *[("lib.loud", "ERROR", None)] * 2, ("lib.loud", "INFO", 0),
        ("lib.loud", "INFO", 1), *[("lib.quiet", "ERROR", None)] * 2,
    ]  # fmt: skip
    assert found == [("anabranch.flow_runs", "INFO", None), *[("anabranch.task_runs", "INFO", None)] * 2, *lib]


def test_lines_of_a_worker_are_heard_where_its_tasks_call_flows(apart: str, root: list[Any]) -> None:
    """A flow that a task calls has a session in the worker: the program's handlers are in the driver all the same."""

    @flow
    def inner() -> int:
        return 1

    @task
    def calls() -> int:
        return inner()

    @task
    def tells() -> None:
        logging.getLogger("lib.other").info("said by %s", "a library")

    @flow
    def main() -> None:
        calls.submit().result()
        tells.submit().result()

    logging.root.setLevel(logging.ERROR)
    main()
    assert [record.name for record in root] == []
    logging.root.setLevel(logging.INFO)
    main()
    assert [record.name for record in root if record.name.startswith("lib")] == ["lib.other"]


def test_debug_lines_of_tasks_are_heard_where_the_program_hears_them(runner: str, root: list[Any]) -> None:
    ours = logging.getLogger("anabranch")
    before = ours.level

    @task
    def tells() -> None:
        get_run_logger().debug("said quietly")

    @flow
    def main() -> None:
        get_run_logger().debug("said quietly")
        tells.submit().result()

    main()
    assert root == []
    ours.setLevel(logging.DEBUG)
    try:
        main()
    finally:
        ours.setLevel(before)
    assert len(root) == 2


@pytest.mark.parametrize("console", ["stderr", "stdout", None])
def test_no_line_comes_twice_to_a_console(
    threads: str, console: str | None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = logging.getLogger("anabranch")
    monkeypatch.setattr(ours, "handlers", [])
    logs.setup_logging()
    handler = logging.StreamHandler(getattr(sys, console)) if console else logging.NullHandler()
    logging.root.addHandler(handler)
    try:

        @flow
        def main() -> None:
            get_run_logger().info("said once")

        main()
    finally:
        logging.root.removeHandler(handler)
    shown = capsys.readouterr()
    assert (shown.out + shown.err).count("said once") == 1


def test_a_level_set_before_the_first_session_stays() -> None:
    program = (
        "import logging; {}; from anabranch import session; session.current(); "
        "print(logging.getLogger('anabranch').level)"
    )
    for before, level in (("logging.getLogger('anabranch').setLevel('ERROR')", 40), ("pass", 10)):
        done = subprocess.run(
            [sys.executable, "-c", program.format(before)], capture_output=True, text=True,
            env={**os.environ, "ANABRANCH_LOG_LEVEL": "DEBUG"}, timeout=60,
        )  # fmt: skip
        assert done.stdout == f"{level}\n", done.stderr
