from prefect import flow, task, unmapped
from prefect.futures import wait
from prefect.task_runners import ProcessPoolTaskRunner


@task(retries=1)
def square(x: int, scale: int = 1) -> int:
    return scale * x * x


@task
def total(values: list[int]) -> int:
    return sum(values)


@flow(task_runner=ProcessPoolTaskRunner(max_workers=2))
def crunch(n: int) -> int:
    squares = square.map(range(n), scale=unmapped(2))
    done, not_done = wait(squares)
    print(len(done), len(not_done))
    return total.submit(squares).result()


if __name__ == "__main__":
    print(crunch(5))
# expected:
# 5 0
# 60
