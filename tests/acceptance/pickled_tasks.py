"""Tasks and flows at the top of a module, for test_pickled_tasks.py."""

from __future__ import annotations

from anabranch import flow, task


@task(retries=2, tags=["a"])
def work(x: int) -> int:
    """Adds one."""
    return x + 1


@flow(retries=3)
def whole(x: int) -> int:
    return x


class Job:
    @task
    def scale(self, x: int) -> int:
        return 2 * x


def bare(x: int) -> int:
    return x


wrapped = task(bare)
