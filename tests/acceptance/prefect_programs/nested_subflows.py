"""Subflows: their parameters are validated, their states returned, their failures caught."""

from prefect import flow, tags, task
from prefect.runtime import flow_run
from pydantic import BaseModel


class Job(BaseModel):
    name: str
    size: int = 1


@task
def cost(size: int) -> int:
    return size * 10


@flow(flow_run_name="a-child", validate_parameters=True)
def child(job: Job) -> dict:
    if job.size < 0:
        raise ValueError(f"{job.name} is negative")
    return {"run": flow_run.name, "flow": flow_run.flow_name, "tags": sorted(flow_run.tags), "cost": cost(job.size)}


@flow
def parent() -> dict:
    with tags("outer", "shared"):
        good = child(Job(name="a", size=3))
        built = child({"name": "b", "size": "4"})
    bad = child({"name": "c", "size": -1}, return_state=True)
    return {"good": good, "built": built, "bad": (bad.name, bad.type.value, bad.is_failed(), bad.message)}


if __name__ == "__main__":
    for name, value in parent().items():
        print(name, value)
    state = parent(return_state=True)
    print(state.is_completed(), state.name, state.result()["good"]["cost"])
    try:
        child({"name": "no size", "size": "many"})
    except Exception as error:
        print(type(error).__name__)
# expected:
# good {'run': 'a-child', 'flow': 'child', 'tags': ['outer', 'shared'], 'cost': 30}
# built {'run': 'a-child', 'flow': 'child', 'tags': ['outer', 'shared'], 'cost': 40}
# bad ('Failed', 'FAILED', True, 'Flow run encountered an exception: ValueError: c is negative')
# True Completed 30
# ParameterTypeError
