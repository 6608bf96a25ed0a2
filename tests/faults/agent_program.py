"""An agent that a test can hold: `python agent_program.py plain|before|after MARK`.

"before" and "after" hold it in the start of a job, before or after the job has been started, until MARK is deleted;
MARK is made once it is held. Its clocks are quick, and quicker where `HURRIED` says so (hurried.py).
"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from anabranch import serving
from anabranch import settings as settings_module
from anabranch.agents.loop import AgentLoop
from anabranch.agents.state import AgentState
from anabranch.core.ids import Ids
from anabranch.core.orders import Agent
from anabranch.core.processes import host_id
from anabranch.launch.process import ProcessLauncher
from anabranch.serving.agent import place_of, tell
from tests.faults import hurried

if TYPE_CHECKING:
    from anabranch.core.launching import Job, Reference

BEAT, LOOK = 0.3, 0.1  # seconds


class Held(ProcessLauncher):
    def __init__(self, mode: str, mark: Path) -> None:
        self.mode, self.mark = mode, mark

    def start(self, job: Job) -> Reference:
        if self.mode == "before":
            self._hold()
        reference = super().start(job)
        if self.mode == "after":
            self._hold()
        return reference

    def _hold(self) -> None:
        self.mark.touch()
        while self.mark.exists():
            time.sleep(0.02)


def main(mode: str, mark: str) -> None:
    hurried.as_told()
    settings = settings_module.load()
    service = serving.opened(settings)
    id = Ids().new()
    agent = Agent(id, f"agent-{mode}", host=host_id(), capacity=4)
    state = AgentState(4, look=LOOK, beat=BEAT)
    loop = AgentLoop(service, Held(mode, Path(mark)), agent, state, place_of(settings), tell=tell)
    signal.signal(signal.SIGTERM, lambda *_: loop.stop())
    sys.stdout.write(f"{id}\n")
    sys.stdout.flush()
    loop.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
