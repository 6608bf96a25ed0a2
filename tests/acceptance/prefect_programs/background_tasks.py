"""Background tasks: `delay` returns at once, no flow waits for one or fails with it, and each runs."""

import atexit
import threading

from prefect import flow, task
from prefect.futures import PrefectDistributedFuture

opened = threading.Event()


@task
def send(name, greeting="hello"):
    opened.wait(30)
    return f"{greeting} {name}"


@task
def refuse():
    raise ValueError("no")


@task
def double(x):
    return 2 * x


@task
def last():
    opened.wait(30)
    print("the last one ran")


sent = []


@flow
def signup(name):
    sent.append(send.delay(name))
    refuse.delay().wait()


@flow
def outer():
    return double.apply_async((4,), wait_for=[double.submit(1)]).result()


if __name__ == "__main__":
    print(signup("marvin", return_state=True).name)
    print(isinstance(sent[0], PrefectDistributedFuture), sent[0].state.is_final())
    opened.set()
    print(sent[0].result(), "|", send.apply_async(("arthur",), {"greeting": "bye"}).result())
    print(outer())
    print(double.map([1, 2, 3], deferred=True).result())
    print(double.delay(5).wrapped_future.result().result())
    opened.clear()
    last.delay()
    atexit.register(opened.set)
    print("the program's own code ends")

# expected:
# Completed
# True False
# hello marvin | bye arthur
# 8
# [2, 4, 6]
# 10
# the program's own code ends
# the last one ran
