"""Makes the maps of a scope: the run of a task as a `MapRun`, and the stage by which runners call it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anabranch import logs
from anabranch.core import context, observing
from anabranch.core.carried import Carried, Contexts
from anabranch.core.chunks import Binding, Stage
from anabranch.core.errors import ResourceError
from anabranch.core.maps import MapRun
from anabranch.engine import caching
from anabranch.engine.capacity import shortfall

if TYPE_CHECKING:
    from anabranch.core.runnable import Runnable
    from anabranch.driver.program import Program


class MapMaker:
    """Makes the maps of one scope.

    Args:
        lane: the lane of their runner.
        parameters: those of the flow run, for tasks with cache keys that read them.
        log_prints: whether prints of its tasks are logged, for tasks without the option.

    Attributes:
        apart: whether the runner's workers are outside this process.
        contexts: the contexts of submitting threads, for workers in this process.
    """

    def __init__(
        self, program: Program, lane: int, flow_run_id: str, flow_run_name: str, parameters: dict[str, Any],
        log_prints: bool,
    ) -> None:  # fmt: skip
        self.apart = not program.pump.dispatcher.tables.lanes[lane].capabilities.in_process
        self.contexts = None if self.apart else Contexts()
        self._program = program
        self._pump = program.pump
        self._lane = lane
        self._flow_run_id = flow_run_id
        self._flow_run_name = flow_run_name
        self._parameters = parameters
        self._log_prints = log_prints

    def make(self, port: Any, task: Runnable, kind: str, parent: str, **details: Any) -> MapRun:
        """Make a new map, which the dispatcher does not know yet; raises ResourceError.

        Args:
            port: the scope that it belongs to.
            parent: the task run that submits.
        """
        tags = tuple(dict.fromkeys((*task.options.tags, *context.current_tags.get())))
        map = MapRun(
            self._program.ids.new(), task.spec, task.options, kind=kind, lane=self._lane, parent_id=parent,
            flow_run_id=self._flow_run_id, tags=tags, scope=port, **details,
        )  # fmt: skip
        map.header.created = self._program.clock.time()
        map.header.detached = task.options.detach
        map.header.unshown = task.unshown
        if self.contexts is not None:
            map.header.carried = Carried(self.contexts)
        if kind not in ("call", "flow"):  # these two run here
            map.sending.spec_ref = self._program.tasks.ref(self._lane, task, self._flow_run_id)
            self._check_resources(map)
        map.sending.stage_ref = self._pump.dispatcher.tables.new_ref()
        if observing.observers:
            lane = self._pump.dispatcher.tables.lanes[self._lane]
            map.header.around = observing.map_began(map, lane.capabilities.name)
        if task.options.concurrency_limit:
            self._pump.dispatch(
                self._pump.dispatcher.set_limit, f"task:{task.name}", task.options.concurrency_limit
            )
        return map

    def open_series(self, map: MapRun) -> None:
        """Tell the dispatcher of a new series of single runs, with the stages of whole calls and of links."""
        stage = self.stage(map, Binding(star=True), None)
        pipe = self.stage(map, Binding(args=(("item", 0),)), None)
        map.sending.pipe_ref = self._pump.dispatcher.tables.new_ref()
        self._pump.dispatch(self._pump.dispatcher.intake.open_series, map, stage, pipe)

    def _check_resources(self, map: MapRun) -> None:
        """Raise ResourceError for resources that the runner can never have."""
        offers = self._pump.dispatcher.tables.lanes[self._lane].capabilities
        if not map.sending.resources or offers.resources_elastic:
            return
        missing = shortfall(map.sending.resources, dict(offers.resources))
        if missing:
            offered = ", ".join(f"{name}={amount:g}" for name, amount in offers.resources) or "nothing"
            raise ResourceError(
                f"task {map.spec.name!r} asks for {missing}, and the {offers.name} runner has {offered}: ask for "
                "less, or declare more where the runner is made (resources={...})"
            )

    def stage(
        self, map: MapRun, binding: Binding, constants: int | None, hashed: tuple[int, ...] | None = None
    ) -> Stage:
        """Return the stage by which a runner calls the task.

        Args:
            constants: the shared id of the map's constants.
            hashed: columns to digest, for the keys of a resumable run.
        """
        options = map.options
        name = options.task_run_name if isinstance(options.task_run_name, str) else ""
        reads = options.cached and caching.needs_flow_parameters(options.cache_policy)
        stage = Stage(
            map.sending.spec_ref, constants, binding, map.id, self._flow_run_id, self._flow_run_name,
            map.header.parent_id, map.header.tags, name, self._parameters if reads else None, self._log_prints,
            map.kind, logs.level(), hashed=hashed, bare=not map.keep,
            wanted=logs.wanted() if self.contexts is None else None, draws=map.header.draws,
            around=map.header.around, carried=map.header.carried,
        )  # fmt: skip
        if map.values.resumable:
            stage.store, stage.probe = self._program.stores.for_lane(map.sending.lane)
        return stage
