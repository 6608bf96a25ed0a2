"""Async flows and tasks: awaited calls, gathered calls, submitted coroutines, states that are awaited."""

import asyncio

from prefect import flow, task


@task
async def double(n: int) -> int:
    await asyncio.sleep(0)
    return n * 2


@task
def plain(n: int) -> int:
    return n + 1


@task
async def fail() -> None:
    raise RuntimeError("no")


@flow
async def inner(n: int) -> int:
    return await double(n)


@flow
async def outer() -> dict:
    gathered = await asyncio.gather(*(double(n) for n in range(4)))
    futures = double.map([5, 6])
    future = plain.submit(futures[0])
    state = await fail(return_state=True)
    inside = await inner(9, return_state=True)
    return {
        "gathered": gathered,
        "mapped": futures.result(),
        "after": future.result(),
        "failed": (state.name, repr(await state.result(raise_on_failure=False))),
        "inner": await inside.result(),
    }


if __name__ == "__main__":
    for name, value in asyncio.run(outer()).items():
        print(name, value)
# expected:
# gathered [0, 2, 4, 6]
# mapped [10, 12]
# after 11
# failed ('Failed', "RuntimeError('no')")
# inner 18
