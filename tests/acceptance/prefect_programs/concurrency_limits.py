"""Limits that were never set do not limit; with `strict=True` that is an error. Others hold, and run out of time."""

import asyncio
import logging

from prefect import flow, task
from prefect.concurrency import asyncio as waiting
from prefect.concurrency.sync import ConcurrencySlotAcquisitionError, concurrency, rate_limit

from anabranch import concurrency as ours

warned = []
logging.getLogger("prefect.concurrency").addFilter(lambda record: warned.append(record.getMessage()[:40]) or False)


@task
def process(x, y):
    with concurrency("database", occupy=1):
        return x + y


@task
def critical(x):
    with concurrency("critical", occupy=1, strict=True):
        return x


@flow
def limited():
    print([process.submit(x, 1).result() for x in (1, 2)])
    rate_limit("rate")
    try:
        critical(1)
    except ConcurrencySlotAcquisitionError as error:
        print("strict", "anabranch limits set critical" in str(error))
    with ours("here", 1):
        try:
            with concurrency("here", timeout_seconds=0.01):
                print("not here")
        except TimeoutError:
            print("late")


@flow
async def waited():
    async with waiting.concurrency(["database"]):
        await waiting.rate_limit("rate")
    try:
        await waiting.rate_limit("rate", strict=True)
    except ConcurrencySlotAcquisitionError:
        print("strict")


if __name__ == "__main__":
    limited()
    asyncio.run(waited())
    print(*warned, sep="\n")
# expected:
# [2, 3]
# strict True
# late
# strict
# Concurrency limit 'database' does not ex
# Concurrency limit 'rate' does not exist,
