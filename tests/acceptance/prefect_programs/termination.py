"""A SIGTERM raises TerminationSignal in the flow that runs, and out of it: both may clean up."""

import os
import signal

from prefect import flow, task
from prefect.exceptions import ExternalSignal, TerminationSignal


@task
def work(x):
    return x


@flow
def inner():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        work.submit(1).wait()
    except TerminationSignal as told:
        print("inner cleans up after signal", told.signal)
        raise


@flow
def outer():
    inner()
    print("never printed")


if __name__ == "__main__":
    try:
        outer()
    except ExternalSignal as told:
        print("the program was told to end:", type(told).__name__, told.signal)

# expected:
# inner cleans up after signal 15
# the program was told to end: TerminationSignal 15
