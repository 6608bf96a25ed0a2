"""`anabranch.replay`: a failed task run again, in this process, from the inputs that its worker stored.

    record --> places of the item and the call --> result store --> the task from its present file --> called here

Nothing of it is recorded; hooks, retries, time limits and caching stay out.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import pickle
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anabranch import logs, prints
from anabranch import session as sessions
from anabranch import settings as settings_module
from anabranch.core import context, states, tracebacks
from anabranch.core.context import TaskContext, TaskRun
from anabranch.core.draws import Source
from anabranch.core.errors import ReplayError
from anabranch.core.options import TaskOptions
from anabranch.core.own_code import standing_in
from anabranch.core.runnable import Runnable
from anabranch.core.stored_call import StoredCall
from anabranch.core.task_spec import TaskSpec
from anabranch.diagnosis import from_record
from anabranch.diagnosis.edited import edited, in_place_of
from anabranch.engine import drive
from anabranch.engine.attempt import AttemptWorld, attempt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    from anabranch.core.runs import FlowRunRow, MapRow, Records
    from anabranch.core.stores import ResultStore
    from anabranch.diagnosis.from_record import Because
    from anabranch.settings import Settings


def replay(run: str, task: str, index: int | None = None, *, recorded: bool = False, home: Any = None) -> Any:
    """Call a failed task run again, here and now, with its recorded inputs; returns its value.

    Args:
        run: id, start of the id, or name of a recorded flow run.
        task: the task's name, ``TASK[INDEX]``, or ``TASK#2`` for the second series of it.
        index: the index of the run, unless `task` has it.
        recorded: call the recorded function, not that of the present file.
        home: a folder with a record and results, copied from another machine; this program's unless given.

    Raises:
        RecordsError: there is no such run, task or item, or several; says which there are.
        ReplayError: its inputs are not stored, or cannot be read here; says what to do.
        Exception: what the task raises.
    """
    try:
        return prepare(run, task, index, recorded=recorded, home=home).call()
    except Exception as error:
        tracebacks.hide(error)
        raise


def prepare(run: str, task: str, index: int | None = None, *, recorded: bool = False, home: Any = None) -> Replay:
    """Find the parts of a replay without calling the task; arguments and errors as in `replay`."""
    name, nth, at = from_record.target(task)
    index = at if index is None else index
    if index is None:
        raise ReplayError(f"say which run of {task!r} to replay: {task}[INDEX]")
    _forget_loaded()
    with _opened(home) as (records, store, settings):
        row = from_record.find_run(records, run)
        _put_beside(row)
        found = from_record.find_maps(records, row, name, nth)
        map = _one_with_inputs(records, found, index) or from_record.only_one(row, name, found)
        ended = from_record.of_item(records, map, index, row)
        shelf = _Shelf(records, store, map, row, ended)
        item_place, call_place = shelf.place("input", index), shelf.place("call", 0)
        stored = StoredCall.read(shelf.value(*call_place))
        code = _recorded(stored) if recorded else _current(stored)
        with code.classes():
            item, stored = shelf.value(*item_place), StoredCall.read(shelf.value(*call_place))
    what = TaskRun(
        map.task, map.id, index, max(1, ended.attempt), row.id, row.name, map.tags, map.kind, start_time=row.created,
        draws=_draws(records, row, stored),
    )  # fmt: skip
    return Replay(what, code, stored, item, ended, settings)


@dataclass(slots=True)
class Replay:
    """A task run that can be called again; `ended` is its recorded end."""

    run: TaskRun
    code: Code
    stored: StoredCall
    item: Any
    ended: Because
    settings: Settings

    def call(self) -> Any:
        """Return the function's value; raises the function's exception."""
        args, kwargs = self.stored.call(self.item)
        spec = TaskSpec(self.run.task_name, self.code.fn, TaskOptions())
        world = AttemptWorld(spec, self.run, dict, warn=logs.run_warning, tell_failed=logs.attempt_failed)
        with _apart(self.settings), _inside(self.run, self.code.prints):
            result = drive.run(attempt(world, args, kwargs))
        if states.is_success(result.code):
            return result.value
        error = result.error or states.failure(states.State(states.StateType.FAILED, message=result.message))
        try:
            raise error
        except BaseException:
            tracebacks.hide(error)
            raise
        finally:
            del error, result


def _draws(records: Records, row: FlowRunRow, stored: StoredCall) -> Source | None:
    """Return where the run's random numbers came from; None where no seed was made, so that none were drawn."""
    if stored.draws is None:
        return None
    seed, path, first = stored.draws
    run: FlowRunRow | None = row
    while seed is None and run is not None:  # a subflow has the seed of the run around it
        found = records.stored(run.id, "seed")
        seed = int(found[0].name) if found else None
        run = records.flow_run(run.parent_run) if run.parent_run else None
    return None if seed is None else Source(seed, tuple(path), first)


# -- around the call -------------------------------------------------------------------------------


@contextlib.contextmanager
def _apart(settings: Settings) -> Iterator[None]:
    """Run everything that the task submits or calls in this thread, without a record."""
    with sessions.in_place(sessions.unrecorded(replace(settings, runner="inline", progress=False))):
        yield


@contextlib.contextmanager
def _inside(run: TaskRun, log_prints: bool) -> Iterator[None]:
    flow = context.current_flow.set(None)
    tags = context.current_tags.set(run.tags)
    task = context.current_task.set(TaskContext(run, log=logs.emit))
    try:
        with prints.prints(log_prints):
            yield
    finally:
        context.current_task.reset(task)
        context.current_tags.reset(tags)
        context.current_flow.reset(flow)


# -- what is stored --------------------------------------------------------------------------------


@contextlib.contextmanager
def _opened(home: Any) -> Iterator[tuple[Records, ResultStore, Settings]]:
    """Open this program's record and results, or those of a folder; raises ReplayError where there is no record."""
    if home is None:
        session = sessions.current()
        session.records.flush(5.0)
        yield session.records, session.store, session.settings
        return
    kept = {name: value for name, value in os.environ.items() if name not in ("ANABRANCH_RECORDS", "ANABRANCH_RESULTS")}
    settings = settings_module.load({**kept, "ANABRANCH_HOME": str(home)})
    if not sessions.recorded(settings):
        raise ReplayError(f"there is no record in {settings.home}: {settings.records_path} is missing")
    records = sessions.open_records(settings)
    try:
        yield records, sessions.make_store(settings), settings
    finally:
        records.close()


def _one_with_inputs(records: Records, maps: list[MapRow], index: int) -> MapRow | None:
    """Return the series of a task that has stored inputs of this item, if there is only one such."""
    found = [map for map in maps if any(index in row.items for row in records.stored(map.id, "input"))]
    return found[0] if len(found) == 1 else None


@dataclass(slots=True)
class _Shelf:
    """The stored parts of one map, for one of its runs."""

    records: Records
    store: ResultStore
    map: MapRow
    run: FlowRunRow
    ended: Because

    @property
    def who(self) -> str:
        return f"{self.map.task}[{self.ended.index}]"

    def place(self, kind: str, index: int) -> tuple[str, int]:
        """Return the block and the slot; raises ReplayError, which says why there is none."""
        rows = [row for row in self.records.stored(self.map.id, kind) if row.name and index in row.items]
        if not rows or self.store.blocks is None:
            raise ReplayError(f"{self.who} cannot be replayed: {_why_not(kind, self.run, self.ended)}")
        return rows[-1].name, rows[-1].slots[list(rows[-1].items).index(index)]

    def value(self, name: str, slot: int) -> Any:
        """Return the value in a slot; raises ReplayError."""
        assert self.store.blocks is not None
        try:
            [found] = self.store.blocks.read(name, (slot,))
        except Exception as error:
            raise ReplayError(
                f"what was stored of {self.who} cannot be read here: {error}; have the modules that its values come "
                "from where Python finds them (PYTHONPATH, or replay from their folder)"
            ) from error
        if found is None:
            gone = f"its stored block {name} is missing or damaged in {self.store!r}"
            if self.run.state == states.COMPLETED:
                gone = f"run {self.run.name!r} completed without a failure, and what was stored of it went then"
            raise ReplayError(f"{self.who} cannot be replayed: {gone}")
        return found.value


def _why_not(kind: str, run: FlowRunRow, ended: Because) -> str:
    if not run.resumable:
        return (
            "its inputs are not stored, because its run was not resumable; run the flow with @flow(resumable=True), or "
            "`anabranch run`"
        )
    if kind == "call":
        return "the task itself was not stored: it could not be pickled"
    if ended.state in ("Completed", "Cached"):
        return "it completed, and inputs are stored of failed runs only"
    return f"no inputs of it are stored: {ended.sentence}"


# -- the task's code -------------------------------------------------------------------------------

@dataclass(slots=True)
class Code:
    """A task's function; `note` names its source, `module` its module if it is not the recorded one.

    Attributes:
        imported: the name of the module as this program has imported it, where `module` was read from the file since.
    """

    fn: Callable[..., Any]
    note: str
    module: ModuleType | None = None
    prints: bool = False  # whether its prints are logged
    imported: str = ""

    @contextlib.contextmanager
    def classes(self) -> Iterator[None]:
        """Let values that are read in this block have the module's classes."""
        with contextlib.ExitStack() as stack:
            if self.module is not None:
                stack.enter_context(standing_in(self.module))
                if self.imported:
                    stack.enter_context(in_place_of(self.imported, self.module))
            yield


def _recorded(stored: StoredCall) -> Code:
    try:
        return Code(pickle.loads(stored.fn), "the task as it was recorded")
    except Exception as error:
        raise ReplayError(
            f"the recorded function of task {stored.task!r} cannot be loaded here: {type(error).__name__}: {error}"
        ) from error


def _current(stored: StoredCall) -> Code:
    """Return the task from its present file, so that breakpoints and mends count; else the recorded one, and why."""
    try:
        module = _module(stored)
        found = _named(stored, module)
    except Exception as error:
        text = str(error) if isinstance(error, _NotThere) else f"{type(error).__name__}: {error}"
        code = _recorded(stored)
        code.note = f"{code.note} ({text})"
        logs.warn(f"replay uses {code.note}")
        return code
    where = f"as it is in {getattr(module, '__file__', None) or stored.file}"
    known = sys.modules.get(stored.module)
    imported = stored.module if known is not None and known is not module and stored.module != "__main__" else ""
    if isinstance(found, Runnable):
        return Code(found.plain_fn, f"the task {where}", module, bool(found.options.log_prints), imported)
    return Code(found, f"the function {where}", module, imported=imported)


class _NotThere(Exception):
    """Raised with the reason why the task's present code cannot be loaded."""


def _named(stored: StoredCall, module: ModuleType) -> Any:
    found: Any = module
    for name in stored.qualname.split("."):
        found = getattr(found, name, None)
        if found is None:
            raise _NotThere(f"{stored.file} has no {stored.qualname} any more")
    if not callable(found):
        raise _NotThere(f"{stored.qualname} in {stored.file} is not a function any more")
    return found


def _module(stored: StoredCall) -> ModuleType:
    if not stored.qualname:
        raise _NotThere("it is not a plain function of a file")
    if "<locals>" in stored.qualname:
        raise _NotThere(f"{stored.qualname} was made inside another function")
    path = _here(stored.file)
    main = sys.modules.get("__main__")
    if getattr(main, "__file__", None) and Path(str(main.__file__)).absolute() == path:  # type: ignore[union-attr]
        return main  # type: ignore[return-value]
    if stored.module in sys.modules and stored.module != "__main__":
        known = sys.modules[stored.module]
        return _executed(path, f"{_package(stored.module)}{_AGAIN}{path.stem}") if edited(known, path) else known
    if path.is_file():
        return _loaded(path, stored.module)
    if stored.module in ("", "__main__"):
        raise _NotThere(f"there is no file {path} here")
    return importlib.import_module(stored.module)


def _loaded(path: Path, module: str = "") -> ModuleType:
    """Load the module of a file, under its own name where other modules import it; never as __main__."""
    parts = [] if module in ("", "__main__") else module.split(".")
    root = path.parents[len(parts) - 1] if len(parts) > 1 else path.parent
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    if len(parts) > 1:
        _loaded_here.add(module)
        return importlib.import_module(module)
    name = module if parts else path.stem
    known = sys.modules.get(name)
    if known is not None:
        if getattr(known, "__file__", None) == str(path):
            return known
        name = f"{_AGAIN}{path.stem}"
    return _executed(path, name)


_AGAIN = "anabranch_replay_"  # before the name of a module that was imported already


def _package(module: str) -> str:
    """Return the package of a module with a dot behind it; "" where it is in none."""
    return "".join(module.rpartition(".")[:2])


def _executed(path: Path, name: str) -> ModuleType:
    """Execute a file as the module of this name."""
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise _NotThere(f"{path} is not a Python file")
    found = importlib.util.module_from_spec(spec)
    sys.modules[name] = found
    _loaded_here.add(name)
    try:
        spec.loader.exec_module(found)
    except BaseException:
        del sys.modules[name]
        raise
    return found


def _here(file: str) -> Path:
    """Return the file's path if it exists, else the file of that name in the present folder."""
    path, beside = Path(file), Path.cwd() / Path(file).name
    return beside if beside.is_file() and not path.is_file() else path


_loaded_here: set[str] = set()  # modules that only replays have imported


def _forget_loaded() -> None:
    """Forget modules that only replays have imported, so that the next replay reads their files again."""
    while _loaded_here:
        sys.modules.pop(_loaded_here.pop(), None)


def _put_beside(run: FlowRunRow) -> None:
    """Put the flow's own file on the path, if it is here: values of its classes name it as their module."""
    place = Path(run.entry.rpartition(":")[0] or ".")
    file = _here(str(place))
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    if file.is_file() and (main is None or Path(main).absolute() != file.absolute()):
        with contextlib.suppress(Exception):
            _loaded(file.absolute())
    elif place.is_absolute() and place.parent.is_dir() and str(place.parent) not in sys.path:  # a module of a package
        sys.path.insert(0, str(place.parent))
