"""Lines of the program's own loggers in tasks on workers, sent to the handlers in the driver.

    task: logging.getLogger("lib").info() -> root handler here -> the task's lines --reports--> getLogger("lib"), there

Only where the driver's program has handlers of its own at its root logger; their levels are the levels here. Lines
outside of tasks stay here.
"""

from __future__ import annotations

import logging

from anabranch import logs
from anabranch.core.context import current_task
from anabranch.core.log_lines import LogLine, Wanted, origin_of
from anabranch.core.processes import process_token


def hear(wanted: Wanted) -> None:
    """Send lines of tasks in this process to the driver from now on, down to the wanted levels."""
    if wanted.process == process_token():  # a worker inside the driver's process: the handlers are here
        return
    root = logging.root
    if not any(isinstance(handler, _Away) for handler in root.handlers):
        root.addHandler(_Away())
    for logger, level in ((root, wanted.root), *((logging.getLogger(name), low) for name, low in wanted.names.items())):
        if level < logger.getEffectiveLevel():
            logger.setLevel(level)


class _Away(logging.Handler):
    """A handler that sends a task's lines to the driver."""

    def emit(self, record: logging.LogRecord) -> None:
        task = current_task.get()
        if task is None or task.log is None:
            last = logging.lastResort
            if last is not None and record.levelno >= last.level and logging.root.handlers == [self]:
                last.handle(record)  # as Python does without handlers
            return
        try:
            text, origin = logs.cut(record.getMessage()), origin_of(record, far=True, cut=logs.cut)
        except Exception:
            self.handleError(record)
            return
        run = task.run
        place = (run.flow_run_id, run.map_id, run.index)
        task.log(LogLine(record.created, record.levelno, "", text, *place, origin=origin, name=record.name))
