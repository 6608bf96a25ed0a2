"""A flow for clusters of pods: the sum of what its items return."""

from __future__ import annotations

from anabranch import flow, task


@task
def plus_one(x: int) -> int:
    return x + 1


@flow
def total(n: int) -> int:
    return sum(plus_one.map(range(n)).result())
