"""Prefect 1: triggers, order without data, reference tasks, and the final state."""

from prefect import Flow, task
from prefect.engine.signals import FAIL
from prefect.triggers import all_failed, all_finished, always_run, any_failed, some_successful

ran = []


@task
def good(name="good"):
    ran.append(name)
    return name


@task
def bad():
    raise FAIL("told so")


@task(trigger=any_failed)
def alarm():
    return "alarmed"


@task(trigger=all_finished)
def read(value, other):
    return f"{type(value).__name__}, {other}"


@task(trigger=always_run)
def clean_up():
    ran.append("cleaned up")
    return "clean"


@task(trigger=some_successful(at_least=1, at_most=1))
def some():
    return "some"


def mine(upstream_states):
    return sum(one.is_failed() for one in upstream_states.values()) == 1


@task(trigger=mine)
def by_mine():
    return "mine"


@task(trigger=all_failed)
def never():
    return "never"


with Flow("triggers") as flow:
    a = good()
    b = bad()
    follow = good("follows", upstream_tasks=[b])
    rang = alarm(upstream_tasks=[a, b])
    got = read(b, a)
    done = clean_up(upstream_tasks=[follow])
    counted = some(upstream_tasks=[a, b])
    own = by_mine(upstream_tasks=[a, b])
    none = never(upstream_tasks=[a, b])
    later = good("later")
    later.set_upstream(done)
    done.set_downstream(good("last"))

if __name__ == "__main__":
    state = flow.run()
    print(state)
    for step in (b, follow, rang, got, done, counted, own, none):
        found = state.result[step]
        print(step.name, type(found).__name__, found.result if found.is_successful() else type(found.result).__name__)
    print(ran[:2], sorted(ran[2:]))
    flow.set_reference_tasks([done, a])
    print(flow.run(), sorted(one.name for one in flow.reference_tasks()))
# expected:
# <Failed: "Some reference tasks failed.">
# bad Failed FAIL
# good TriggerFailed UpstreamError
# alarm Success alarmed
# read Success FAIL, good
# clean_up Success clean
# some Success some
# by_mine Success mine
# never TriggerFailed UpstreamError
# ['good', 'cleaned up'] ['last', 'later']
# <Success: "All reference tasks succeeded."> ['clean_up', 'good']
