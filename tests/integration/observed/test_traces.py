"""Spans as OpenTelemetry's SDK gets them: a flow run, its maps, and the user's own spans on workers below them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from anabranch import ProcessRunner, ThreadRunner, flow, task
from anabranch.core import observing
from anabranch.core.errors import MissingExtraError
from anabranch.integrations import traces
from tests.acceptance.sessions import made, over, placed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opentelemetry.sdk.trace import ReadableSpan

N = 50
MAKE: dict[str, Callable[[], Any]] = {
    "thread": lambda: ThreadRunner(max_workers=2),
    "process": lambda: ProcessRunner(max_workers=2),
}


@pytest.fixture(params=over("thread", "process"))
def runner(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[str]:
    with made(MAKE[request.param](), tmp_path) as session, placed(session):
        yield request.param


@pytest.fixture
def exported() -> Iterator[InMemorySpanExporter]:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    traces.start(provider)
    yield exporter
    traces.stop()
    provider.shutdown()
    assert observing.observers == ()


def spans_of(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    found = exporter.get_finished_spans()
    assert len({span.name for span in found}) == len(found)
    return {span.name: span for span in found}


def parent_of(span: ReadableSpan) -> int:
    return 0 if span.parent is None else span.parent.span_id


def id_of(span: ReadableSpan) -> int:
    assert span.context is not None
    return span.context.span_id


def own_span() -> tuple[int, int]:
    """Make a span as a user's code does, with an SDK of the worker's own; returns its trace and its parent."""
    tracer = TracerProvider().get_tracer("user")
    with tracer.start_as_current_span("mine") as span:
        assert isinstance(span, trace.Span)
        parent = span.parent  # type: ignore[attr-defined]
        return span.get_span_context().trace_id, 0 if parent is None else parent.span_id


def test_a_run_and_a_map_are_spans_and_no_item_is(runner: str, exported: InMemorySpanExporter) -> None:
    @task
    def load(x: int) -> tuple[int, int, int]:
        return x, *own_span()

    @task
    def score(found: tuple[int, int, int]) -> tuple[int, int, int]:
        return found[0], *own_span()

    @task
    async def waits(x: int) -> tuple[int, int]:
        return own_span()

    @flow
    def inner() -> list[Any]:
        found: list[Any] = waits.map(range(4), chunk=2).result()
        return found

    @flow
    def main() -> list[Any]:
        first = load.map(range(N))
        second = score.map(first)  # may travel in the chunks of the first
        return [first.result(), second.result(), inner(), score.submit((0, 0, 0)).result(), own_span()]

    first, second, third, single, own = main()
    spans = spans_of(exported)
    assert sorted(spans) == ["flow inner", "flow main", "map load", "map score", "map waits", "submit score"]
    top = spans["flow main"]
    assert parent_of(top) == 0
    for name in ("map load", "map score", "submit score", "flow inner"):
        assert parent_of(spans[name]) == id_of(top), name
    assert parent_of(spans["map waits"]) == id_of(spans["flow inner"])
    assert top.context is not None
    whole = top.context.trace_id
    assert first == [(x, whole, id_of(spans["map load"])) for x in range(N)]
    assert second == [(x, whole, id_of(spans["map score"])) for x in range(N)]
    assert third == [(whole, id_of(spans["map waits"]))] * 4
    assert single == (0, whole, id_of(spans["submit score"]))
    assert own == (whole, id_of(top))


def test_attributes_say_what_ran_and_how_it_ended(runner: str, exported: InMemorySpanExporter) -> None:
    @task
    def odd(x: int) -> int:
        if x % 2:
            raise KeyError(x)
        return x

    @flow(name="outer")
    def main() -> None:
        odd.map(range(N)).result()

    with pytest.raises(KeyError):
        main()
    spans = spans_of(exported)
    of_map, of_flow = spans["map odd"], spans["flow outer"]
    told = dict(of_map.attributes or {})
    assert told.pop("anabranch.map.id")
    run = told.pop("anabranch.flow_run.id")
    assert told == {
        "anabranch.task.name": "odd",
        "anabranch.runner": runner,
        "code.function.name": f"{odd.fn.__module__}.{odd.fn.__qualname__}",
        "anabranch.items": N,
        "anabranch.items.completed": N // 2,
        "anabranch.items.failed": N // 2,
        "error.type": "KeyError",
    }
    assert not of_map.status.is_ok
    assert [event.attributes["anabranch.item"] for event in of_map.events if event.attributes] == list(range(1, 40, 2))
    assert {event.attributes["exception.type"] for event in of_map.events if event.attributes} == {"KeyError"}
    told = dict(of_flow.attributes or {})
    assert told["anabranch.flow_run.id"] == run
    assert (told["anabranch.state"], told["error.type"]) == ("Failed", "KeyError")
    assert [event.name for event in of_flow.events] == ["exception"]


def test_maps_that_tasks_make_are_below_the_map_of_the_task(runner: str, exported: InMemorySpanExporter) -> None:
    @task
    def leaf(x: int) -> int:
        return x

    @task
    def branch(x: int) -> int:
        return sum(leaf.map(range(3)).result())

    @flow
    def main() -> int:
        return sum(branch.map([0], chunk=1).result())

    assert main() == 3
    spans = spans_of(exported)
    assert parent_of(spans["map leaf"]) == id_of(spans["map branch"])


def test_a_flow_is_below_the_span_of_its_caller(runner: str, exported: InMemorySpanExporter) -> None:
    @flow
    def main() -> None: ...

    with TracerProvider().get_tracer("user").start_as_current_span("mine") as mine:
        main()
    assert parent_of(spans_of(exported)["flow main"]) == mine.get_span_context().span_id


def test_without_a_start_nothing_is_made_and_nothing_travels(runner: str) -> None:
    @task
    def where(x: int) -> bool:
        return trace.get_current_span().get_span_context().is_valid

    futures = where.map(range(3))
    assert futures.result() == [False] * 3
    assert futures._map.header.around == ()


def test_an_observer_that_raises_changes_nothing(runner: str, caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError(name)

    broken: Any = Broken()

    @task
    def double(x: int) -> int:
        return 2 * x

    @flow
    def main() -> list[int]:
        found: list[int] = double.map(range(3)).result()
        return found

    observing.add(broken)
    try:
        assert main() == [0, 2, 4]
    finally:
        observing.remove(broken)
    assert any("an observer of runs" in line.getMessage() for line in caplog.records)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'anabranch\[traces\]'"):
        traces.start()
    parent = traces.Parent({"traceparent": "00-0-0-0"})
    parent.leave(parent.enter())  # on a worker without it, items run all the same
