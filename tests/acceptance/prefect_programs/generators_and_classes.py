"""Generator tasks, methods as tasks, options changed, arguments that do not fit."""

from prefect import flow, task
from prefect.exceptions import ParameterBindError, ReservedArgumentError


@task
def numbers(n: int):
    yield from range(n)
    return "done"


class Store:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    @task
    def scale(self, x: int) -> int:
        return self.factor * x

    @task
    @staticmethod
    def plus(a: int, b: int = 1) -> int:
        return a + b

    @flow
    def total(self, xs: list[int]) -> int:
        return sum(self.scale.map(xs).result()) + self.plus(1)


@flow
def items() -> list:
    return list(numbers(3))


if __name__ == "__main__":
    print(items(), Store(3).total([1, 2]), Store.plus(1, 2))
    renamed = numbers.with_options(name="counted", retries=2, tags={"a"})
    print(renamed.name, renamed.retries, renamed.tags, numbers.name, numbers.retries)
    try:
        Store.plus(b=2)
    except ParameterBindError as error:
        print(str(error).splitlines()[0])
    try:
        task(lambda wait_for: None)
    except ReservedArgumentError as error:
        print(error)
# expected:
# [0, 1, 2] 11 3
# counted 2 {'a'} numbers 0
# Error binding parameters for function 'plus': missing a required argument: 'a'.
# 'wait_for' is a reserved argument name and cannot be used.
