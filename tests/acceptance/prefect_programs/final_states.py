"""What a flow returns decides its state: data, states, futures, None."""

from prefect import flow, task
from prefect.states import Cancelled, Completed, Failed


@task
def ok() -> str:
    return "fine"


@task
def bad() -> None:
    raise ValueError("broken")


@flow
def ignores_a_failure():
    bad.submit()
    return "data"


@flow
def returns_nothing():
    bad.submit()


@flow
def returns_futures():
    return [ok.submit(), bad.submit(), ok.submit()]


@flow
def returns_one():
    return ok.submit()


@flow
def by_hand():
    return Completed(message="by hand", data=3)


@flow
def failed_by_hand():
    return Failed(message="also by hand")


@flow
def cancelled():
    return [Completed(), Cancelled()]


if __name__ == "__main__":
    for one in (ignores_a_failure, returns_nothing, returns_futures, returns_one, by_hand, failed_by_hand, cancelled):
        state = one(return_state=True)
        print(one.name, state.type.value, state.message, type(state.result(raise_on_failure=False)).__name__)
    try:
        returns_futures()
    except ValueError as error:
        print("raised", error)
    print([type(one).__name__ for one in (returns_one(), by_hand())], by_hand())
# expected:
# ignores-a-failure COMPLETED  str
# returns-nothing COMPLETED  NoneType
# returns-futures FAILED 1/3 states failed. list
# returns-one COMPLETED All states completed. State
# by-hand COMPLETED by hand int
# failed-by-hand FAILED also by hand FailedRun
# cancelled CANCELLED 1/2 states cancelled. list
# raised broken
# ['State', 'int'] 3
