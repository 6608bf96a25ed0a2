"""What a worker's death means for the chunks that it had: which item is blamed, and for what."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

from anabranch.core.events import ChunkLost, ItemCancelled, ItemTimedOut
from anabranch.runners.process.worker_handle import oom_kills

if TYPE_CHECKING:
    from anabranch.core.events import Event
    from anabranch.runners.placing.jobs import Job
    from anabranch.runners.placing.status_page import Running
    from anabranch.runners.process.worker_handle import WorkerProcess


class Deaths:
    """Judges deaths; it knows how many processes the system has ended for want of memory so far."""

    def __init__(self) -> None:
        self._oom_kills = oom_kills()

    def verdict(self, worker: WorkerProcess, job: Job[WorkerProcess], running: Running | None, how: str) -> list[Event]:
        """Return the events that end a chunk after the death of its worker."""
        why, text = worker.killed or ("", "")
        on_item = running is not None and running.position >= job.reported
        if why == "timeout":
            lost = ChunkLost(job.id, "stopped", "an item ran past its time, which ended its worker")
            if running is not None and on_item and running.late(time.monotonic()):
                return [ItemTimedOut(job.id, running.stage, running.position, running.limit), lost]
            return [lost]
        if why == "cancel":
            lost = ChunkLost(job.id, "stopped", "an item was cancelled, which ended its worker")
            if running is not None and on_item and job.to_stop(running):
                return [ItemCancelled(job.id, running.position), lost]
            return [lost]
        if why == "closed":
            return [ChunkLost(job.id, "stopped", "the runner was closed while it ran")]
        reason = "out-of-memory" if why == "memory" else "worker-lost"
        if not why and worker.process.returncode == -signal.SIGKILL and oom_kills() > self._oom_kills:
            self._oom_kills += 1
            reason, text = "out-of-memory", f"peak {worker.peak >> 20} MB, when the system ended {worker.name}"
        suspects = (running.position,) if running is not None and on_item else None
        alone = suspects is not None or job.size - job.reported == 1
        stage = running.stage if running is not None and on_item else 0
        return [ChunkLost(job.id, reason, text or how, suspects, alone, stage)]
