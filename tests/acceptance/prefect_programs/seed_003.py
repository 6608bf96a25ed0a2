"""Every block of seed 003, as it is, in a flow: the ways to submit. What is left of it concerns a server."""

from prefect import flow, task


@task
def t1():
    return 1


@task
def t2():
    return 2


@task
def add_one(x):
    return x + 1


@flow
def submissions():
    # -- Start concurrently in flow runner, return result
    r1 = t1()
    r2 = t2()
    print(r1, r2)

    # -- Start concurrently on task runner, return future
    f1 = t1.submit()
    f2 = t2.submit()
    print(f1.result(), f2.result())

    # -- Start sequentially on task runner, wait until terminal state reached, and return state
    s1 = t1.submit().wait() # Completed/Failed
    s2 = t2.submit().wait() # Completed/Failed
    print(s1.name, s2.name)

    # equivalent to
    s1 = t1.submit(return_state=True)   # Completed/Failed
    s2 = t2.submit(return_state=True)   # Completed/Failed
    print(s1.name, s2.name)

    # -- Start sequentially on task runner, and return state without waiting
    s1 = t1.submit().get_state() # Pending/Running
    s2 = t2.submit().get_state() # Pending/Running
    print({s1.name, s2.name} <= {"Pending", "Running", "Completed"})

    # -- Start sequentially on task runner, wait until terminal state reached, and return result
    r1 = t1.submit().wait().result()
    r2 = t2.submit().wait().result()
    print(r1, r2)

    # equivalent to
    s1 = t1.submit().result()
    s2 = t2.submit().result()
    print(s1, s2)

    # -- To return an exception result rather than raising it
    s1 = t1.submit().result(raise_on_failure=True)
    print(s1)

    # -- Mapping always runs concurrently via the task runner
    futures = add_one.map([1, 2, 3])  # returns List[PrefectFuture]
    print([future.result() for future in futures])
    futures = add_one.map([1, 2, 3], return_state=True)  # waits on each future to reach a terminal state and returns List[State]  # noqa: E501
    print([state.name for state in futures])


submissions()
# expected:
# 1 2
# 1 2
# Completed Completed
# Completed Completed
# True
# 1 2
# 1 2
# 1
# [2, 3, 4]
# ['Completed', 'Completed', 'Completed']
