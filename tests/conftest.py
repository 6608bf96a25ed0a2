"""What every tier shares."""

from __future__ import annotations

import gc
import logging
import os
import signal

import pytest

from anabranch.core import secrets
from tests.clock import Clock

pytest_plugins = ["tests.beds", "tests.engines", "tests.nightly", "tests.slurm_nodes"]

# Started in the background by a shell, tests ignore Ctrl-C, and so would each program that they send one to.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A lent Dask cluster gives a worker up for good that does not start again within 15 s: on a busy machine one that was
# killed by a test does not, and the tests after it have no workers. Clusters of our own set this themselves.
os.environ.setdefault("DASK_DISTRIBUTED__DEPLOY__LOST_WORKER_TIMEOUT", "10000 days")


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Set what was collected aside: each look for garbage, of which tests ask for hundreds, went over all of it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def no_secrets_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process knows the secrets it has read for good; those of one test are not the next one's."""
    monkeypatch.setattr(secrets, "_known", ())


@pytest.fixture(autouse=True)
def logs_of_all_levels() -> None:
    """A session gives anabranch's loggers a level; the next test has that of `caplog` again."""
    logging.getLogger("anabranch").setLevel(logging.NOTSET)


@pytest.fixture
def clock() -> Clock:
    return Clock()
