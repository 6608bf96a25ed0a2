"""Prefect 2: states returned by hand from their earliest module, failures that are allowed, states as results."""

from prefect import allow_failure, flow, task
from prefect.orion.schemas.states import Completed, Failed


@task
def bad():
    raise ValueError("no good")


@task
def after(value):
    return f"after {type(value).__name__}"


@task
def by_hand(fail):
    return Failed(message="by hand") if fail else Completed(message="fine", data="data")


@flow
def handled():
    first = bad.submit()
    allowed = after.submit(allow_failure(first))
    waited = after.submit(1, wait_for=[allowed])
    print(allowed.result(), waited.result(), first.wait().is_failed())
    print(by_hand(True, return_state=True).message, by_hand(False, return_state=True).message)
    return Completed(message="all fine")


@flow
def failing():
    return bad.submit()


@flow
def parent():
    state = failing(return_state=True)
    return state.name, state.is_failed()


if __name__ == "__main__":
    print(handled(return_state=True).message)
    print(parent())
    try:
        failing()
    except ValueError as error:
        print("raised", error)
# expected:
# after ValueError after int True
# by hand fine
# all fine
# ('Failed', True)
# raised no good
