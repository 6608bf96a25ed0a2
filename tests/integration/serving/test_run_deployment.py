"""Runs of deployments that programs and flows order, and drivers of other programs run."""

from __future__ import annotations

import textwrap
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from anabranch import flow, run_deployment
from anabranch import session as sessions
from anabranch.core.errors import CancelledRun, FailedRun, ParameterTypeError, ResultReleased, ServiceError
from anabranch.core.orders import OrderState, Pool
from anabranch.deploy import Deployment
from anabranch.results.disk import DiskStore
from anabranch.runs import submitted_flows
from tests.integration.documents.repositories import Repository
from tests.integration.serving.played import PlayedAgent
from tests.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from anabranch.core.service import Service

pytestmark = [pytest.mark.timeout(250), pytest.mark.sampled(4, "agents and drivers, or waits for them")]
CODE = """
from datetime import date
from pathlib import Path
from anabranch import flow, run_deployment, Secret

@flow
def load(day: date, size: int = 1, key=None):
    if size == 13:
        raise ValueError("unlucky")
    if key is not None:
        key = key.get()
    Path(f"loaded-{size}").write_text(f"{type(day).__name__} {key}")
    return {"size": size, "rows": bytes(size) if size > 1000 else b""}

@flow
def parent(size: int):
    return run_deployment("load/d", {"size": size}).result()["size"] + 1

@flow(persist_result=False)
def forgetful():
    return 1

@flow
def unpicklable():
    return (n for n in range(3))
"""
DAY = {"day": "2024-01-02"}


@pytest.fixture
def loading(service: Service, tmp_path: Path) -> Path:
    """The folder of a flow that is deployed."""
    folder = tmp_path / "flows"
    folder.mkdir()
    (folder / "loading.py").write_text(CODE)
    deployment("d", path=str(folder)).apply()
    return folder


def deployment(name: str, **given: Any) -> Deployment:
    found = {"flow_name": "load", "entrypoint": "loading.py:load", "parameters": DAY, **given}
    rule = {"size": {"type": "integer"}, "day": {"format": "date", "type": "string"}, "key": {}}
    schema = {"type": "object", "properties": rule, "required": ["day"], "additionalProperties": False}
    return Deployment(name, parameter_schema=schema, **found)


# -- outside of flows ----------------------------------------------------------------------------


def test_a_run_is_ordered_and_waited_for(service: Service, loading: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_KEY", "hidden")
    with PlayedAgent(service):
        run = run_deployment(
            "load/d", {"size": 2, "key": {"$secret": "THE_KEY"}}, flow_run_name="mine", tags=["a"], timeout=120,
            job_variables={"env": {"A": "b"}},
        )  # fmt: skip
    assert (run.state.name, run.name, run.flow_name) == ("Completed", "mine", "load"), run.state.message
    assert "a" in run.tags
    assert run.parameters == {**DAY, "size": 2, "key": {"$secret": "THE_KEY"}}
    assert (loading / "loaded-2").read_text() == "date hidden"
    assert run.start_time is not None
    assert run.end_time is not None
    assert run.result() == {"size": 2, "rows": b""}


def test_a_run_that_fails_is_given_back(service: Service, loading: Path) -> None:
    with PlayedAgent(service):
        run = run_deployment("load/d", {"size": 13}, timeout=120)
    assert run.state.is_failed()
    assert "unlucky" in run.state.message
    with pytest.raises(FailedRun, match="unlucky"):
        run.result()
    assert isinstance(run.result(raise_on_failure=False), FailedRun)


def test_without_waiting(service: Service, loading: Path) -> None:
    run = run_deployment("load/d", timeout=0)
    assert run.state.is_scheduled()
    again = run_deployment("load/d", timeout=0.01, idempotency_key="k", priority=3, work_queue_name="q")
    assert not again.state.is_final()
    assert run_deployment(again.deployment_id, timeout=0, idempotency_key="k") == again
    order = service.orders.find(again.id)
    assert order is not None
    assert (order.priority, order.queue, order.key) == (3, "q", "k")
    assert again.cancel()
    assert again.state.is_cancelled()
    with pytest.raises(CancelledRun):
        again.result()
    assert not again.cancel()


def test_at_a_time(service: Service, loading: Path) -> None:
    when = datetime(2090, 1, 2, tzinfo=UTC)
    for given in (when, when.timestamp()):
        order = service.orders.find(run_deployment("load/d", scheduled_time=given, timeout=0).id)
        assert order is not None
        assert order.due == when.timestamp()


def test_what_is_refused(service: Service, loading: Path) -> None:
    with pytest.raises(ServiceError, match="did you mean 'load/d'"):
        run_deployment("load/b", timeout=0)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"size": "two"}, "size: "), ({"sise": 2}, "did you mean 'size'"), ({"day": None}, "day: "),
    ]  # fmt: skip
    for parameters, message in cases:
        with pytest.raises(ParameterTypeError) as refused:
            run_deployment("load/d", parameters, timeout=0)
        assert message in str(refused.value)
    assert service.orders.all() == []
    deployment("free", path=str(loading), enforce_parameter_schema=False).apply()
    assert run_deployment("load/free", {"sise": 2}, timeout=0).parameters == {**DAY, "sise": 2}


def test_code_out_of_a_repository(service: Service, tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repository")
    commit = repository.commit(**{"part__loading.py": CODE})
    deployment("git", storage=repository.reference(ref="main"), path="part").apply()
    with PlayedAgent(service):
        run = run_deployment("load/git", {"size": 4}, timeout=120)
    assert run.state.is_completed(), run.state.message
    assert [path.parent.name for path in (tmp_path / "home" / "code").rglob("loaded-4")] == ["part"]
    assert [one.name for one in sessions.current().records.stored(run.id, "code")] == [f"git:{commit}"]


def test_code_that_is_gone_is_told_in_the_run(service: Service, tmp_path: Path) -> None:
    deployment("gone", path=str(tmp_path / "nowhere")).apply()
    deployment("moved", path=str(tmp_path), entrypoint="lost.py:load").apply()
    with PlayedAgent(service):
        runs = [run_deployment(f"load/{name}", timeout=120) for name in ("gone", "moved")]
    assert [run.state.name for run in runs] == ["Failed", "Failed"]
    assert "there is no folder" in runs[0].state.message
    assert "there is no file 'lost.py'" in runs[1].state.message


def test_a_large_value_is_in_the_result_store(
    service: Service, loading: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with PlayedAgent(service):
        run = run_deployment("load/d", {"size": 500_000}, timeout=120)
    assert run.result() == {"size": 500_000, "rows": bytes(500_000)}
    session = sessions.current()
    [row] = session.records.stored(run.id, "result")
    assert len(row.name) < 200
    monkeypatch.setattr(session.stores, "store", lambda: DiskStore(tmp_path / "elsewhere"))
    with pytest.raises(ResultReleased, match="let the setting `results` name one place for both"):
        run.result()


def test_a_value_that_is_not_kept_is_told_with_the_reason(service: Service, loading: Path) -> None:
    for name in ("forgetful", "unpicklable"):
        Deployment("d", flow_name=name, entrypoint=f"loading.py:{name}", path=str(loading)).apply()
    with PlayedAgent(service) as agent:
        runs = [run_deployment(f"{name}/d", timeout=120) for name in ("forgetful", "unpicklable")]
    for run in runs:
        assert run.state.is_completed(), run.state.message
        with pytest.raises(ResultReleased, match="not kept: its flow says persist_result=False, it could not"):
            run.result()
    assert "the flow's value is not kept for the programs that wait for this run: it cannot be pickled" in agent.said[1]


# -- in flows ------------------------------------------------------------------------------------


@flow
def calling(size: int, times: int = 1):
    for _ in range(times):
        run_deployment("load/d", {"size": size}, timeout=120)


def test_a_flow_sees_its_failure_as_a_subflows(service: Service, loading: Path) -> None:
    with PlayedAgent(service):
        good, bad = calling(2, return_state=True), calling(13, return_state=True)
    assert good.is_completed(), good.message
    assert bad.is_failed()
    assert "1 of 1 task runs failed" in bad.message
    rows = {row.id: row for row in sessions.current().records.flow_runs()}
    children = [row for row in rows.values() if row.flow == "load"]
    assert [rows[row.parent_run].flow for row in children] == ["calling", "calling"]


def test_a_failure_that_is_read_and_handled(service: Service, loading: Path) -> None:
    @flow
    def careful():
        run = run_deployment("load/d", {"size": 13}, timeout=120)
        try:
            run.result()
        except FailedRun as error:
            return str(error)

    with PlayedAgent(service):
        assert "unlucky" in careful()


def test_it_is_cancelled_with_the_flow(service: Service, loading: Path) -> None:
    """No agent is there: the run waits until the flow around it is cancelled."""
    future = calling.submit(2)
    (order,) = until(lambda: service.orders.all(deployment="load/d"))
    assert future.cancel()
    ended = until(lambda: (found := service.orders.find(order.run)) and found.state is OrderState.DONE and found)
    assert ended is not None
    row = sessions.current().records.flow_run(order.run)
    assert row is not None
    assert row.state_name == "Cancelled"


@pytest.mark.parametrize("where", ["add", "submit"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, CancelledRun])
def test_a_flow_that_ends_while_it_orders_leaves_no_order_open(
    service: Service, loading: Path, monkeypatch: pytest.MonkeyPatch, where: str, error: type[BaseException]
) -> None:
    """The order is in the record, and what would wait for it is not begun: no cancel of the flow would reach it."""
    place: Any = service.orders if where == "add" else submitted_flows
    before = getattr(place, where)

    def broken(*given: Any, **named: Any) -> Any:
        if where == "add":
            before(*given, **named)
        raise error("the flow is told to end")

    monkeypatch.setattr(place, where, broken)
    try:
        calling(2, return_state=True)
    except KeyboardInterrupt:
        pass
    [order] = service.orders.all(deployment="load/d", open=False)
    assert order.state is OrderState.DONE
    row = sessions.current().records.flow_run(order.run)
    assert row is not None
    assert row.state_name == "Cancelled"
    assert row.message.startswith("cancelled by flow run ")


def test_another_attempt_finds_the_run_that_did_not_fail(service: Service, loading: Path) -> None:
    attempts = []

    @flow(retries=1)
    def twice():
        attempts.append([run_deployment("load/d", {"size": size}, timeout=120).id for size in (2, 2, 13)])
        if len(attempts) == 1:
            raise ValueError("the first attempt fails behind its calls")
        return "done"

    with PlayedAgent(service):
        assert twice() == "done"
    (first, second, failed), (one, other, anew) = attempts
    assert (first, second) == (one, other)
    assert first != second
    assert failed != anew


def test_on_its_own_and_not_as_a_subflow(service: Service, loading: Path) -> None:
    @flow
    def detached():
        return run_deployment("load/d", {"size": 2}, as_subflow=False, timeout=0).id

    row = sessions.current().records.flow_run(detached())
    assert row is not None
    assert row.parent_run == ""


def test_a_parent_in_a_pool_of_one_slot_lends_it_to_its_child(service: Service, loading: Path) -> None:
    """The child would wait for the slot of its parent, and the parent for the child."""
    service.pools.put(Pool("default", slots=1))
    Deployment("d", flow_name="parent", entrypoint="loading.py:parent", path=str(loading)).apply()
    with PlayedAgent(service) as agent:
        run = run_deployment("parent/d", {"size": 6}, timeout=200)
    assert run.state.is_completed(), (run.state.message, agent.said)
    assert run.result() == 7


# -- Prefect's -----------------------------------------------------------------------------------


def test_flows_of_prefect_are_driven(service: Service, tmp_path: Path) -> None:
    (tmp_path / "older.py").write_text(
        textwrap.dedent("""
            from pathlib import Path
            from prefect import Flow, Parameter, task

            @task
            def write(name):
                Path(f"older-{name}").write_text("")

            with Flow("older one") as flow:
                write(Parameter("name", default="x"))
            """)
    )
    (tmp_path / "newer.py").write_text(
        "from pathlib import Path\nfrom prefect import flow\n"
        "@flow\ndef newer(name: str):\n    Path(f'newer-{name}').write_text('')\n"
    )
    for name in ("older", "newer"):
        Deployment(
            "d", flow_name=name, entrypoint=f"{name}.py", path=str(tmp_path), written_for="prefect",
            parameters={"name": "x"},
        ).apply()  # fmt: skip
    with PlayedAgent(service) as agent:
        runs = [run_deployment(f"{name}/d", timeout=120) for name in ("older", "newer")]
    assert [run.state.name for run in runs] == ["Completed", "Completed"], ([r.state.message for r in runs], agent.said)
    assert sorted(path.name for path in tmp_path.glob("*er-x")) == ["newer-x", "older-x"]
