# ruff: noqa: E402, I001
"""Every block of seed 002 that is no command, as it is; what it takes from its reader stands beside it."""

import sys
from datetime import timedelta
from types import ModuleType

from prefect import Flow, Task, task
from prefect.engine import state

sent = []
requests = ModuleType("requests")
requests.post = lambda url, json: sent.append((url, json["text"]))
sys.modules["requests"] = requests


def send_notification():
    sent.append("notified")


@task
def one():
    return 1


@task
def broken():
    raise ValueError("broken")


with Flow("reference tasks") as flow:
    task_1, task_2, task_3 = one(), one(), one()
    last = broken(upstream_tasks=[task_1])

print(flow.run())

# -- Flow reference tasks
flow.set_reference_tasks([task_1, task_2, task_3])

print(flow.run())


# -- Retries
@task(max_retries=3, retry_delay=timedelta(seconds=10))
def extract_reference_data():
    # same as before ...
    return "data"


print(extract_reference_data.retries, extract_reference_data.retry_delay_seconds, extract_reference_data())


# -- State handlers
def notify_on_retry(task, old_state, new_state):
    if isinstance(new_state, state.Retrying):
        send_notification() # function that sends a notification
    return new_state

task_that_notifies = Task(state_handlers=[notify_on_retry])


class FailsOnce(Task):
    times = 0

    def run(self):
        FailsOnce.times += 1
        if FailsOnce.times == 1:
            raise ValueError("once")
        return "fine"


with Flow("handlers") as flow:
    task_that_notifies()
    found = FailsOnce(state_handlers=[notify_on_retry], max_retries=1, retry_delay=timedelta(0))()
print(flow.run().result[found].result, sent)
sent.clear()

# -- Callback_factory
from prefect.utilities.notifications import callback_factory
import requests

def send_post(task, state):
    msg = f"Task {task} failed and is retrying at {state.start_time}"
    requests.post("https://XXXXX", json={"text": msg})

post_to_slack = callback_factory(send_post, lambda s: s.is_retrying())
task_that_notifies = Task(state_handlers=[post_to_slack])

FailsOnce.times = 0
with Flow("callbacks") as flow:
    task_that_notifies()
    FailsOnce(name="extract", state_handlers=[post_to_slack], max_retries=1, retry_delay=timedelta(0))()
print(flow.run().is_successful(), len(sent), sent[0][0], sent[0][1].partition(" at ")[0])
print(sent[0][1].partition(" at ")[2][:2])
# expected:
# <Failed: "Some reference tasks failed.">
# <Success: "All reference tasks succeeded.">
# 3 10.0 data
# fine ['notified']
# True 1 https://XXXXX Task <Task: extract> failed and is retrying
# 20
