"""Prefect 2: maps with constants, maps over maps, states of a map, an async flow."""

import asyncio

from prefect import flow, task, unmapped
from prefect.futures import PrefectFuture
from prefect.utilities.annotations import quote


@task
def add(x, y):
    return x + y


@task
def total(numbers):
    return sum(numbers)


@task
def size(value):
    return len(value)


@task
async def later(x):
    await asyncio.sleep(0)
    return x + 100


@flow
def mapping():
    once = add.map([1, 2, 3], 10)
    twice = add.map(once, [1, 2, 3])
    whole = size.submit(quote([1, 2]))
    states = add.map([1, 2], unmapped(1), return_state=True)
    print(all(isinstance(future, PrefectFuture) for future in once), [future.result() for future in twice])
    print(total.submit(twice).result(), whole.result(), [state.result() for state in states])


@flow
async def asynchronous():
    return await later(1), [future.result() for future in later.map([1, 2])]


if __name__ == "__main__":
    mapping()
    print(asyncio.run(asynchronous()))
# expected:
# True [12, 14, 16]
# 42 2 [2, 3]
# (101, [101, 102])
