"""Prefect 2: the ways to submit, `wait()` that gives a state, `get_state()`."""

from prefect import flow, task
from prefect.task_runners import ConcurrentTaskRunner


@task
def t1():
    return 1


@task
def bad():
    raise ValueError("no good")


@flow(task_runner=ConcurrentTaskRunner())
def pipeline():
    r1 = t1()
    f1 = t1.submit()
    s1 = t1.submit().wait()
    s2 = t1.submit(return_state=True)
    early = t1.submit()
    name = early.get_state().name
    late = early.wait()
    failed = bad.submit().wait()
    print(r1, f1.result(), s1.name, s2.result(), late.result(), name in ("Pending", "Running", "Completed"))
    print(t1.submit().wait().result(), early.get_state().is_completed(), s1.result(fetch=True))
    print(failed.type.value, repr(failed.result(raise_on_failure=False)))
    print(repr(bad.submit().result(raise_on_failure=False)))
    return [f1, s1]


if __name__ == "__main__":
    print([state.result() for state in pipeline()])
    print(pipeline(return_state=True).name)
# expected:
# 1 1 Completed 1 1 True
# 1 True 1
# FAILED ValueError('no good')
# ValueError('no good')
# [1, 1]
# 1 1 Completed 1 1 True
# 1 True 1
# FAILED ValueError('no good')
# ValueError('no good')
# Completed
