"""A program that is stopped in a transaction, with its pool locked: others go on without it (fault 32)."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from anabranch.core.deployments import DeploymentRow
from anabranch.core.orders import Agent, NewOrder
from anabranch.records import open_service

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.postgres,
    pytest.mark.sampled(2, "a program that is stopped for each"),
]

HOLDER = """
import sys
from anabranch.records import open_service, postgres

postgres._MOST_IDLE = 1000
service = open_service(sys.argv[1])
ledger = service.orders._ledger
with ledger.write() as db:
    ledger.lock_pool(db, "default")
    print("there", flush=True)
    sys.stdin.readline()
"""

CLAIMER = """
import sys
from anabranch.records import open_service, postgres
from anabranch.records.service import choosing

postgres._MOST_IDLE = 1000
taking = choosing.taking

def held(*given):
    print("there", flush=True)
    sys.stdin.readline()
    return taking(*given)

choosing.taking = held
service = open_service(sys.argv[1])
service.claims.claim(sys.argv[2], 1)
"""


@contextmanager
def program(*command: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    ) as holder:  # fmt: skip
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "there\n"
            yield holder
        finally:
            holder.kill()


def test_its_lock_on_a_pool_is_let_go_and_it_hears_of_that_when_it_is_woken_32(postgres_address: str) -> None:
    service = open_service(postgres_address)
    service.deployments.apply(DeploymentRow("", "etl", "daily"))
    run = service.orders.add([NewOrder("etl/daily")])[0].run
    agent = service.claims.join(Agent("", "a"))
    with program(HOLDER, postgres_address) as holder:
        holder.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        assert [claim.order.run for claim in service.claims.claim(agent.id, 1)] == [run]
        print(f"claimed after {time.monotonic() - began:.1f} s")
        _told_when_woken(holder)
    service.close()


def test_a_program_that_is_stopped_in_a_claim_lets_its_pool_go_32(postgres_address: str) -> None:
    service = open_service(postgres_address)
    service.deployments.apply(DeploymentRow("", "etl", "daily"))
    run = service.orders.add([NewOrder("etl/daily")])[0].run
    agent, stopped = (service.claims.join(Agent("", name)) for name in ("a", "b"))
    with program(CLAIMER, postgres_address, stopped.id) as holder:
        holder.send_signal(signal.SIGSTOP)
        assert [claim.order.run for claim in service.claims.claim(agent.id, 1)] == [run]
        _told_when_woken(holder)
    service.close()


def _told_when_woken(holder: subprocess.Popen[str]) -> None:
    holder.send_signal(signal.SIGCONT)
    _, told = holder.communicate("go\n", timeout=50)
    assert holder.returncode == 1
    assert "cannot be used" in told
    assert "idle-in-transaction timeout" in told
