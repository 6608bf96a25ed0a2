"""What `helm test` runs: a map of a hundred items on the engine of the release, its sum checked."""

import os

from anabranch import flow, task

ITEMS = 100


@task
def square(x: int) -> int:
    return x * x


@flow(runner=os.environ["ENGINE"])
def check() -> int:
    return sum(square.map(range(ITEMS)).result())


found, expected = check(), sum(x * x for x in range(ITEMS))
assert found == expected, f"the flow returned {found} in place of {expected}"
print(f"{ITEMS} items on {os.environ['ENGINE']}: {found}")
