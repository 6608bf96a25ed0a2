"""The stages of a chunk on its worker: the parts that each needs at every item, prepared once."""

from __future__ import annotations

import copy
import functools
import threading
from typing import TYPE_CHECKING, Any

from anabranch.core import strays
from anabranch.core.binding import binder
from anabranch.core.context import TaskRun, given_name
from anabranch.core.errors import AnabranchError
from anabranch.core.keys import ConstantHasher
from anabranch.core.params import Binder
from anabranch.core.user_code import is_async
from anabranch.worker import program_logs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anabranch.core.chunks import Binding, Stage
    from anabranch.core.contracts import WorkerPort
    from anabranch.core.stores import BlockStore, ResultStore, StoreProbe
    from anabranch.core.task_spec import TaskSpec

_making = threading.Lock()  # threads that run chunks of one stage make one plan


def plan_of(port: WorkerPort, ref: int) -> StagePlan:
    """Return the plan of a stage, made at first use in this process; it lives as long as the stage."""
    stage: Stage = port.shared(ref)
    found: StagePlan | None = stage.plan
    if found is None:
        with _making:  # threads begin together, and must share one hasher
            found = stage.plan
            if found is None:
                found = stage.plan = StagePlan(port, copy.copy(stage))  # a copy, which avoids a reference cycle
    if found.spec.modules is not None:
        found.spec.modules.settle()
    return found


class StagePlan:
    """The parts that one stage needs at each item; shared by the chunks, and the threads, that run it."""

    __slots__ = (
        "bind", "binder", "blocks", "constants", "digest", "fn", "inputs", "isasync", "plain", "prints", "single",
        "soft", "spec", "stage", "told", "unseen", "warned", "watched",
    )  # fmt: skip

    def __init__(self, port: WorkerPort, stage: Stage) -> None:
        spec: TaskSpec = port.shared(stage.spec)
        constants = port.shared(stage.constants) if stage.constants is not None else ()
        options = spec.options
        self.stage = stage
        self.spec = spec
        self.fn = spec.fn
        self.binder: Binder | None = None
        if spec.isasync is None:
            spec.isasync = is_async(spec.fn)
        self.isasync = spec.isasync
        strays.follow()
        if stage.wanted is not None:
            program_logs.hear(stage.wanted)
        self.prints = options.log_prints if options.log_prints is not None else stage.log_prints
        # Hooks of failures do not count: a failed item enters the policy anyway.
        self.watched = options.watched
        watched = options.on_running or options.on_completion or options.state_handlers
        named = options.task_run_name is not None
        # A run with hooks for its end stores its value before, by itself; so does an async run.
        self.blocks = None if watched or self.isasync else _blocks(spec)
        persists = options.persist_result and self.blocks is None
        # A resumable run stores values too, and inputs of failed items; it goes on where they cannot be stored.
        self.unseen: AnabranchError | None = None  # why none of them is stored here
        self.inputs = None
        try:
            self.inputs = _seen(stage.store, stage.probe) if stage.store is not None else None
        except AnabranchError as error:
            self.unseen = error
        self.soft = self.blocks is None and not stage.bare and options.persist_result is not False
        if self.soft:
            self.blocks = self.inputs
        self.told = self.warned = False  # notes, once each: the stored call; that a value could not be stored
        self.constants = constants
        self.plain = not (self.isasync or watched or named or options.cached or persists)
        first = _first_constants(stage.binding)
        self.single = first is not None
        if first:
            self.fn = functools.partial(spec.fn, *(constants[k] for k in first))
        self.bind = binder(stage.binding, constants)
        self.digest = _digest(stage, constants) if options.cached else None

    def new_run(self) -> TaskRun:
        stage = self.stage
        return TaskRun(
            self.spec.name, stage.map_id, 0, 1, stage.flow_run_id, stage.flow_run_name, stage.tags, stage.kind,
            version=self.spec.options.version or "", draws=stage.draws,
        )  # fmt: skip

    def parameters(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        if self.binder is None:
            self.binder = Binder(self.spec.fn, self.spec.name)
        return self.binder.as_dict(args, kwargs)

    def name_run(self, run: TaskRun, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Give the run its name from `task_run_name`, if there is one."""
        given = self.spec.options.task_run_name
        if given is None:
            return
        parameters = self.parameters(args, kwargs)
        run.given_name = given_name(given, parameters, f"@task {self.spec.name!r}: task_run_name")


def _first_constants(binding: Binding) -> list[int] | None:
    """Return the constants of a call ``fn(*constants, item)``, such as a method's; None for other calls."""
    first, last = binding.args[:-1], binding.args[-1:]
    plain = last == (("item", 0),) and not binding.kwargs and binding.width == 1
    if not plain or any(kind != "const" for kind, _ in first):
        return None
    return [k for _, k in first]


def _blocks(spec: TaskSpec) -> BlockStore | None:
    """Return the store for values without a cache key; None where each attempt stores its own, or warns."""
    if spec.options.cached or not spec.options.persist_result or spec.store is None:
        return None
    try:
        return _seen(spec.store, spec.probe)
    except AnabranchError:
        return None


def _seen(store: ResultStore, probe: StoreProbe | None) -> BlockStore | None:
    """Return the store's blocks; raises where this worker does not see the driver's store."""
    if probe is not None:
        probe.see(store)
    return store.blocks


def _digest(stage: Stage, constants: Sequence[Any]) -> ConstantHasher:
    return ConstantHasher(constants if stage.parameters is None else (*constants, stage.parameters))
