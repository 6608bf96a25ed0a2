"""What the program's own loggers say in tasks on workers: it goes to the driver, to the handlers that are there.

    task: logging.getLogger("lib").info() -> root handler here -> the task's lines --reports--> getLogger("lib"), there

Only where the driver's program has handlers of its own at its root logger; what they want to hear decides the levels
here. What is logged outside of tasks stays here.
"""

from __future__ import annotations

import logging

from anabranch import logs
from anabranch.core.context import current_task
from anabranch.core.log_lines import LogLine, Wanted, origin_of


def hear(wanted: Wanted) -> None:
    """From here on let the driver have what tasks log in this process, down to the levels that it wants."""
    if logs.delivers():  # a worker inside the driver's process: its handlers hear it anyway
        return
    root = logging.root
    if not any(isinstance(handler, _Away) for handler in root.handlers):
        root.addHandler(_Away())
    for logger, level in ((root, wanted.root), *((logging.getLogger(name), low) for name, low in wanted.names.items())):
        if level < logger.getEffectiveLevel():
            logger.setLevel(level)


class _Away(logging.Handler):
    """Takes what a task logs to the driver."""

    def emit(self, record: logging.LogRecord) -> None:
        task = current_task.get()
        if task is None or task.log is None:
            last = logging.lastResort
            if last is not None and record.levelno >= last.level and logging.root.handlers == [self]:
                last.handle(record)  # as without us
            return
        try:
            text, origin = logs.cut(record.getMessage()), origin_of(record, far=True, cut=logs.cut)
        except Exception:
            self.handleError(record)
            return
        run = task.run
        place = (run.flow_run_id, run.map_id, run.index)
        task.log(LogLine(record.created, record.levelno, "", text, *place, origin=origin, name=record.name))
