"""Prefect 1: `apply_map` maps all the tasks that a function calls."""

from prefect import Flow, Parameter, apply_map, task, unmapped
from prefect.tasks.control_flow import case

ran = []


@task
def numbers(n):
    return list(range(1, n + 1))


@task
def add(x, y):
    return x + y


@task
def double(x):
    return 2 * x


@task
def total(xs):
    return sum(xs)


@task
def constant():
    ran.append("constant")
    return 100


def pipeline(x, y, offset=0):
    summed = add(x, y)
    return double(summed), add(summed, offset), constant()


def branching(x):
    with case(x, 1):
        return double(x)


with Flow("applied") as flow:
    n = Parameter("n", default=3)
    xs = numbers(n)
    doubled, moved, once = apply_map(pipeline, xs, [10, 20, 30], offset=unmapped(1000))
    whole = total(doubled)
    try:
        apply_map(branching, xs)
    except NotImplementedError as error:
        print(error)

if __name__ == "__main__":
    state = flow.run()
    print(state.message)
    print(state.result[doubled].result, state.result[moved].result, state.result[whole].result)
    print(doubled.is_mapped(), once.is_mapped(), state.result[once].result, ran)

# expected:
# anabranch has no case in apply_map: branch inside of a task that it calls
# All reference tasks succeeded.
# [22, 44, 66] [1011, 1022, 1033] 132
# True False 100 ['constant']
