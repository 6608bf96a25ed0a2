"""Spans of OpenTelemetry: one a flow run, one a map, and none an item. Off until `start` is called.

    flow "train"                           attributes anabranch.*, code.function.name, error.type
      map "score"                          counts of its items; at most 20 failed items as events
        spans of the task's own code       on the worker: the traceparent of the map travels there

Needs the API package alone; which spans are exported, and where to, is set up with the SDK, on workers too.
"""

from __future__ import annotations

import atexit
import contextlib
from typing import TYPE_CHECKING, Any

from anabranch.core import observing
from anabranch.core.errors import MissingExtraError
from anabranch.core.states import NAMES, is_success

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextvars import Token

    from opentelemetry.trace import Span, Tracer, TracerProvider

    from anabranch.core.maps import MapRun
    from anabranch.core.observing import RunSeen
    from anabranch.core.states import State

EVENTS = 20  # failed items of a map that are told as events
_started: list[Spans] = []


def start(tracer_provider: TracerProvider | None = None) -> None:
    """Make spans of the flow runs and maps that begin from now on, in this program; a second call changes nothing.

    Args:
        tracer_provider: of the SDK; None: the global one.

    Raises MissingExtraError without the package `opentelemetry-api`.
    """
    try:
        from opentelemetry import trace
    except ImportError:
        raise MissingExtraError("traces need opentelemetry-api: pip install 'anabranch[traces]'") from None
    if not _started:
        _started.append(Spans(trace.get_tracer("anabranch", tracer_provider=tracer_provider)))
        observing.add(_started[0])
        atexit.register(stop)


def stop() -> None:
    """Make no more spans, and end those that are open."""
    while _started:
        atexit.unregister(stop)
        observing.remove(_started[0])
        _started.pop().close()


class Parent:
    """The place of a map's span in its trace, as it travels to workers: the headers of the set-up propagators."""

    __slots__ = ("headers",)

    def __init__(self, headers: dict[str, str]) -> None:
        self.headers = headers

    def __reduce__(self) -> Any:
        return Parent, (self.headers,)

    def enter(self) -> Token[Any] | None:
        try:
            from opentelemetry import context, propagate
        except ImportError:  # a worker without the package: its tasks can make no spans
            return None
        return context.attach(propagate.extract(self.headers))

    def leave(self, entered: Token[Any] | None) -> None:
        if entered is not None:
            from opentelemetry import context

            context.detach(entered)


class Spans:
    """An observer that has the open spans: of flow runs by their id, of maps and series of submits by theirs."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._runs: dict[str, Span] = {}
        self._maps: dict[str, Span] = {}
        self._series: dict[str, list[MapRun]] = {}  # by the flow run that they end with

    # -- flow runs -------------------------------------------------------------------------------

    def run_began(self, run: RunSeen) -> None:
        self._runs[run.id] = self._tracer.start_span(
            f"flow {run.flow}",
            self._around(self._runs.get(run.parent)),
            attributes={
                "anabranch.flow.name": run.flow,
                "anabranch.flow_run.id": run.id,
                "anabranch.flow_run.name": run.name,
                "anabranch.runner": run.runner,
                "code.function.name": run.function,
            },
        )

    @contextlib.contextmanager
    def inside(self, run_id: str) -> Iterator[None]:
        from opentelemetry import context, trace

        span = self._runs.get(run_id)
        if span is None:
            yield
            return
        token = context.attach(trace.set_span_in_context(span))
        try:
            yield
        finally:
            context.detach(token)

    def run_ended(self, run: RunSeen, state: State) -> None:
        for series in self._series.pop(run.id, ()):
            self.map_ended(series)
        span = self._runs.pop(run.id, None)
        if span is None:
            return
        span.set_attribute("anabranch.state", state.name)
        error = state.data if isinstance(state.data, BaseException) else None
        if not state.is_completed():
            if isinstance(error, Exception):
                span.record_exception(error)
            self._failed(span, _type_of(error) if error is not None else state.name, state.message or "")
        span.end()

    # -- maps ------------------------------------------------------------------------------------

    def map_began(self, map: MapRun, runner: str) -> Parent | None:
        from opentelemetry import propagate, trace

        if map.kind not in ("map", "submit"):
            return None  # calls in the driver: what they do lies in the span around
        header, fn = map.header, map.spec.fn
        holder = self._maps.get(header.parent_id.rpartition("/")[0])
        around = holder or self._runs.get(header.flow_run_id)
        name = f"{getattr(fn, '__module__', '')}.{getattr(fn, '__qualname__', map.spec.name)}"
        span = self._tracer.start_span(
            f"{map.kind} {map.spec.name}",
            self._around(around),
            attributes={
                "anabranch.task.name": map.spec.name,
                "anabranch.map.id": map.id,
                "anabranch.flow_run.id": header.flow_run_id,
                "anabranch.runner": runner,
                "code.function.name": name,
            },
        )
        self._maps[map.id] = span
        if map.kind == "submit":
            self._series.setdefault(header.flow_run_id, []).append(map)
        headers: dict[str, str] = {}
        propagate.inject(headers, trace.set_span_in_context(span))
        return Parent(headers)

    def map_ended(self, map: MapRun) -> None:
        span = self._maps.pop(map.id, None)
        if span is None:
            return
        codes = bytes(map.codes)
        span.set_attribute("anabranch.items", len(codes))
        for code, (name, _) in enumerate(NAMES):
            if count := codes.count(code):
                span.set_attribute(f"anabranch.items.{name.lower()}", count)
        failed = sorted(map.errors)
        for index in failed[:EVENTS]:
            error = map.errors[index]
            told: dict[str, Any] = {"exception.type": error.type_name, "exception.message": error.message}
            told["anabranch.item"] = index
            span.add_event("anabranch.item.failed", told)
        if map.error is not None:
            self._failed(span, _type_of(map.error), str(map.error))
        elif failed:
            self._failed(span, map.errors[failed[0]].type_name, f"{len(failed)} of {len(codes)} items failed")
        elif other := [code for code in sorted(set(codes)) if not is_success(code)]:
            self._failed(span, NAMES[other[0]][0], "not all of its items completed")
        span.end()

    # -- both --------------------------------------------------------------------------------------

    def close(self) -> None:
        """End what is open."""
        for span in (*self._maps.values(), *self._runs.values()):
            span.end()
        for known in (self._maps, self._runs, self._series):
            known.clear()

    def _around(self, known: Span | None) -> Any:
        """Return the context of a parent: the span around this code, else one that is known to be around."""
        from opentelemetry import trace

        if known is None or trace.get_current_span().get_span_context().is_valid:
            return None
        return trace.set_span_in_context(known)

    def _failed(self, span: Span, kind: str, message: str) -> None:
        from opentelemetry.trace import Status, StatusCode

        span.set_attribute("error.type", kind)
        span.set_status(Status(StatusCode.ERROR, message))


def _type_of(error: BaseException) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
