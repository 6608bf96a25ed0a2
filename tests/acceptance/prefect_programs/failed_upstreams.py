"""A failed upstream: what depends on it never runs, unless it allows the failure."""

from prefect import allow_failure, flow, task
from prefect.exceptions import UnfinishedRun


@task
def bad() -> int:
    raise ValueError("broken")


@task
def follow(value: object, n: int = 0) -> str:
    return f"{type(value).__name__} {n}"


@flow
def chain() -> dict:
    first = bad.submit()
    second = follow.submit(first)
    third = follow.submit(second)
    allowed = follow.submit(allow_failure(first), 2)
    later = follow.submit("value", 3, wait_for=[allow_failure(first)])
    second.wait()
    try:
        third.result()
    except UnfinishedRun as error:
        unfinished = str(error)
    return {
        "second": (second.state.name, second.state.type.value, second.state.is_pending()),
        "third": unfinished,
        "allowed": allowed.result(),
        "later": later.result(),
        "first": repr(first.result(raise_on_failure=False)),
    }


if __name__ == "__main__":
    for name, value in chain().items():
        print(name, value)
# expected:
# second ('NotReady', 'PENDING', True)
# third Run is in PENDING state, its result is not available.
# allowed ValueError 2
# later str 3
# first ValueError('broken')
