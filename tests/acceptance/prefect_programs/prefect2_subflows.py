"""Prefect 2: one task after the other, subflows, tags, run names, loggers."""

import threading

from prefect import flow, get_run_logger, tags, task
from prefect.task_runners import SequentialTaskRunner

order = []


@task(name="Say it", tags=["words"], retries=1, retry_delay_seconds=0)
def say(word):
    order.append(word)
    get_run_logger().info("saying %s", word)
    if order.count(word) == 1 and word == "b":
        raise ValueError("stutter")
    return word.upper()


@flow(name="child", flow_run_name="child-of-{word}", task_runner=SequentialTaskRunner)
def child(word: str, times: int = 2):
    return [say.submit(word) for _ in range(times)]


@flow(name="Parent Flow", description="calls another", version="1", task_runner=SequentialTaskRunner())
def parent(words: list):
    with tags("nightly"):
        found = [child(word) for word in words]
    here = threading.current_thread().name
    return [[state.result() for state in states] for states in found], here == threading.current_thread().name


if __name__ == "__main__":
    print(parent(["a", "b"]))
    print(order)
    print(parent.name, parent.description, parent.version, say.name, sorted(say.tags))
# expected:
# ([['A', 'A'], ['B', 'B']], True)
# ['a', 'a', 'b', 'b', 'b']
# Parent Flow calls another 1 Say it ['words']
