"""Hooks of tasks and flows with their runs and states, names of runs, the context of code."""

from prefect import flow, task
from prefect.context import FlowRunContext, TaskRunContext, get_run_context
from prefect.runtime import task_run

seen = []


def note(obj, run, state):
    seen.append((obj.name, run.name, state.type.value, state.name))


async def note_later(obj, run, state):
    seen.append((obj.name, "async", state.name, run.run_count))


@task(on_completion=[note], task_run_name="step-{n}")
def step(n: int) -> str:
    here = TaskRunContext.get()
    return f"{task_run.name} {here.task.name} {get_run_context().task_run.name} {task_run.parameters}"


@task(retries=1, on_failure=[note, note_later], on_running=[note])
def fails() -> None:
    raise ValueError("no")


@flow(on_completion=[note], flow_run_name=lambda: "named-by-a-function")
def main_flow(x: int = 1) -> dict:
    here = FlowRunContext.get()
    fails(return_state=True)
    return {"step": step(4), "flow": (here.flow.name, here.flow_run.name, here.parameters)}


@main_flow.on_completion
def at_the_end(flow, run, state):
    seen.append(("at the end", run.name, state.name, flow.name))


@flow(on_failure=[note], name="broken one", flow_run_name="b")
def broken():
    raise KeyError("x")


if __name__ == "__main__":
    for name, value in main_flow().items():
        print(name, value)
    broken(return_state=True)
    for line in seen:
        print(tuple(str(part).split("-")[0] if str(part).startswith("fails") else part for part in line))
# expected:
# step step-4 step step-4 {'n': 4}
# flow ('main-flow', 'named-by-a-function', {'x': 1})
# ('fails', 'fails', 'RUNNING', 'Running')
# ('fails', 'fails', 'RUNNING', 'Retrying')
# ('fails', 'fails', 'FAILED', 'Failed')
# ('fails', 'async', 'Failed', 2)
# ('step', 'step-4', 'COMPLETED', 'Completed')
# ('main-flow', 'named-by-a-function', 'COMPLETED', 'Completed')
# ('at the end', 'named-by-a-function', 'Completed', 'main-flow')
# ('broken one', 'b', 'FAILED', 'Failed')
