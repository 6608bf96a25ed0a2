"""Prefect's older seeds, as users wrote them: event driven computing, and the lines that a run logs."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from anabranch import flow, task


@pytest.mark.parametrize("broken", [None, "data.extracted", "data.loaded"])
def test_event_driven_computing(runner: str, broken: str | None, marks: Any, capsys: Any) -> None:
    def emit_event(event: str, resource: dict[str, str], payload: dict[str, Any]) -> None:
        """Writes the event down where the seed's tells a server, which one event does not reach if it is broken."""
        if event == broken:
            raise ConnectionError(f"no server for {event}")
        marks.add(json.dumps([event, resource["prefect.resource.id"], payload]))

    @task
    def extract_data():
        """Extract data and emit an event."""
        data = [1, 2, 3, 4, 5]
        emit_event(
            event="data.extracted",
            resource={"prefect.resource.id": "extract-task"},
            payload={"count": len(data)},
        )
        return data

    @task
    def transform_data(data):
        """Transform data and emit events."""
        transformed = [x * 2 for x in data]

        # Emit event on success
        emit_event(
            event="data.transformed",
            resource={"prefect.resource.id": "transform-task"},
            payload={"count": len(transformed)},
        )
        return transformed

    @task
    def load_data(transformed_data):
        """Load data and emit completion event."""
        print(f"Loaded data: {transformed_data}")

        emit_event(
            event="data.loaded",
            resource={"prefect.resource.id": "load-task"},
            payload={"count": len(transformed_data)},
        )
        return len(transformed_data)

    @flow
    def data_pipeline():
        """A pipeline with event-driven capabilities."""
        try:
            data = extract_data()
            transformed = transform_data(data)
            result = load_data(transformed)

            # Emit workflow completion event
            emit_event(
                event="pipeline.completed",
                resource={"prefect.resource.id": "data-pipeline"},
                payload={"items_processed": result},
            )
            return result
        except Exception as e:
            # Emit failure event
            emit_event(
                event="pipeline.failed",
                resource={"prefect.resource.id": "data-pipeline"},
                payload={"error": str(e)},
            )
            raise

    told = [
        ["data.extracted", "extract-task", {"count": 5}],
        ["data.transformed", "transform-task", {"count": 5}],
        ["data.loaded", "load-task", {"count": 5}],
    ]
    if broken is None:
        result = data_pipeline()
        print(f"Pipeline completed. Processed {result} items.")
        assert capsys.readouterr().out.endswith("Pipeline completed. Processed 5 items.\n")
        told.append(["pipeline.completed", "data-pipeline", {"items_processed": 5}])
    else:
        with pytest.raises(ConnectionError, match=broken):
            data_pipeline()
        del told[[event for event, _, _ in told].index(broken) :]
        told.append(["pipeline.failed", "data-pipeline", {"error": f"no server for {broken}"}])
    assert [json.loads(line) for line in marks.read()] == told


def test_the_lines_that_a_run_logs(
    runner: str, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="anabranch")

    @task
    def load_data(transformed_data):
        print(f"Loaded data: {transformed_data}")
        return len(transformed_data)

    @flow(name="concurrent analysis", log_prints=True)
    def analysis():
        print("arbitrary calc")
        return load_data.submit([1, 2]).result() + load_data([3])

    assert analysis() == 3
    lines = capsys.readouterr().err.splitlines()
    assert all(re.match(r"\d\d:\d\d:\d\d\.\d{3} \| [A-Z]+ +\| ", line) for line in lines), lines
    name = re.search(r"Flow run '([a-z]+-[a-z]+)'", lines[0])[1]
    texts = [re.sub(r"^[\d:.]+ ", "", line) for line in lines]
    flow_run = f"| INFO    | Flow run '{name}' - "
    assert texts[0] == f"{flow_run}Beginning flow run '{name}' for flow 'concurrent analysis'"
    assert f"{flow_run}arbitrary calc" in texts
    assert texts[-1] == f"{flow_run}Finished in state Completed()"
    tasks = [t for t in texts if re.match(r"\| INFO    \| Task run 'load_data-[0-9a-f]{3}' - ", t)]
    assert sum("Finished in state Completed()" in t for t in tasks) == 2
    # A line of a task may come a quarter of a second late, after that of a later one.
    assert sorted(t.rsplit(" - ", 1)[1] for t in tasks if "Loaded" in t) == ["Loaded data: [1, 2]", "Loaded data: [3]"]
