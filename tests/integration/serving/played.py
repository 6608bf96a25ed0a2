"""An agent that starts a driver for each order, without beats: enough for orders that end well or badly."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Self

from anabranch.core.orders import Agent

if TYPE_CHECKING:
    from anabranch.core.service import Service

ROOT = Path(__file__).resolve().parents[3]


class PlayedAgent:
    """Claims and starts while the block around runs; leaves no driver behind."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._play, daemon=True)
        self.said: list[str] = []

    def __enter__(self) -> Self:
        self._service.claims.join(Agent("played", "played", labels=("dev", "gpu"), capacity=4))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(120)

    def _play(self) -> None:
        drivers = []
        while not self._over.is_set():
            for claim in self._service.claims.claim("played", 4, wait=0.1):
                words = [sys.executable, "-m", "anabranch", "drive", claim.order.run, "--token", str(claim.order.token)]
                env = {**os.environ, "PYTHONPATH": str(ROOT)}
                drivers.append(
                    subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
                )
        for driver in drivers:
            self.said.append(driver.communicate(timeout=100)[0])
