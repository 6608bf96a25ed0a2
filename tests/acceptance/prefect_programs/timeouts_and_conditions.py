"""Time limits, conditions of retries, and what is raised."""

import time

from prefect import flow, task
from prefect.states import Failed

tries = []


@task(timeout_seconds=0.05)
def slow() -> None:
    for _ in range(1000):
        time.sleep(0.01)


def worth_it(task, run, state) -> bool:
    try:
        state.result()
    except ValueError:
        return True
    except Exception:
        return False
    return False


@task(retries=5, retry_condition_fn=worth_it)
def sometimes() -> str:
    tries.append(1)
    if len(tries) < 3:
        raise ValueError("again")
    raise KeyError("never again")


@task
def gives_a_state(n: int):
    return Failed(message=f"not {n}")


@flow
def main() -> dict:
    late = slow.submit()
    late.wait()
    state = sometimes(return_state=True)
    given = gives_a_state(4, return_state=True)
    try:
        late.result()
    except TimeoutError as error:
        raised = str(error)
    return {
        "late": (late.state.name, late.state.type.value, raised),
        "tries": (len(tries), state.name, repr(state.result(raise_on_failure=False))),
        "given": (given.name, given.message, type(given.result(raise_on_failure=False)).__name__),
    }


if __name__ == "__main__":
    for name, value in main().items():
        print(name, value)
# expected:
# late ('TimedOut', 'FAILED', 'Task run exceeded timeout of 0.05 second(s)')
# tries (3, 'Failed', "KeyError('never again')")
# given ('Failed', 'not 4', 'FailedRun')
