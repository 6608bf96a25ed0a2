"""Prefect 1: state handlers of tasks and flows, `callback_factory`, states that a handler replaces."""

from datetime import datetime, timedelta

from prefect import Flow, Task, task
from prefect.engine import state
from prefect.engine.signals import SKIP
from prefect.utilities.notifications import callback_factory

seen = []


def notify_on_retry(task, old_state, new_state):
    if isinstance(new_state, state.Retrying):
        seen.append(f"{task.name} is tried again")
    return new_state


def forgive(task, old_state, new_state):
    if new_state.is_failed():
        return state.Success("forgiven", result=-1)


def leave_out(task, old_state, new_state):
    if new_state.is_running():
        raise SKIP("left out")


def send_post(task, state):
    seen.append(f"{task.name} failed and is retrying at a {type(state.start_time).__name__}")


tell_all = callback_factory(send_post, lambda s: s.is_retrying())
attempts = []


@task(max_retries=2, retry_delay=timedelta(seconds=0), state_handlers=[notify_on_retry, tell_all])
def flaky():
    attempts.append(1)
    if len(attempts) < 2:
        raise ValueError("not yet")
    return len(attempts)


@task(state_handlers=[forgive])
def bad():
    raise ValueError("no good")


def of_flow(flow, old_state, new_state):
    seen.append(f"{flow.name}: {type(old_state).__name__} to {type(new_state).__name__}")
    return new_state


task_that_notifies = Task(state_handlers=[notify_on_retry])

with Flow("handled", state_handlers=[of_flow], on_failure=lambda flow, state: seen.append("failed")) as flow:
    found = flaky()
    forgiven = bad()
    nothing = task_that_notifies()

if __name__ == "__main__":
    done = flow.run()
    print(done, done.result[found].result, done.result[forgiven].result, done.result[forgiven].message)
    print(done.result[nothing])
    for line in seen:
        print(line)
    print(isinstance(state.Retrying(start_time=datetime(2026, 1, 1)), state.Pending))
# expected:
# <Success: "All reference tasks succeeded."> 2 -1 forgiven
# <Success>
# handled: Pending to Running
# flaky is tried again
# flaky failed and is retrying at a datetime
# handled: Running to Success
# True
