"""A real kernel of this Python: cells go in, and each message that it publishes comes out with its cell."""

from __future__ import annotations

import json
import os
import queue
import re
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from jupyter_client.manager import KernelManager

if TYPE_CHECKING:
    from pathlib import Path

ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
LOGGED = re.compile(r"\d\d:\d\d:\d\d\.\d{3} \| ")
PATIENCE = 120.0  # seconds for a cell
NAME = "anabranch-test"


@dataclass
class Cell:
    """What a cell has shown up to now."""

    stderr: str = ""
    stdout: str = ""
    results: list[dict[str, Any]] = field(default_factory=list)
    displays: list[dict[str, Any]] = field(default_factory=list)
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)  # those that are replaced, by display id
    error: str = ""
    trace: list[str] = field(default_factory=list)
    messages: int = 0
    size: int = 0  # of these, in characters
    coloured: bool = False  # some text has a colour of its own
    done: bool = False

    @property
    def logged(self) -> list[str]:
        """What anabranch logs in it, without times and levels."""
        return [line.split("| ", 2)[2] for line in self.lines if LOGGED.match(line)]

    @property
    def printed(self) -> str:
        """Its standard output without what anabranch logs."""
        return "".join(line for line in self.stdout.splitlines(keepends=True) if not LOGGED.match(line))

    @property
    def lines(self) -> list[str]:
        """All that it printed, a line each."""
        return [line for line in (self.stderr + self.stdout).replace("\r", "\n").split("\n") if line.strip()]


class Kernel:
    """A kernel in a process of its own, with a home of its own; use it as a context manager."""

    def __init__(self, home: Path) -> None:
        spec = home / "kernels" / NAME
        spec.mkdir(parents=True)
        start = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        (spec / "kernel.json").write_text(json.dumps({"argv": start, "display_name": NAME, "language": "python"}))
        self._home = home
        self.cells: dict[str, Cell] = {}

    def __enter__(self) -> Kernel:
        environ = {
            **os.environ, "JUPYTER_PATH": str(self._home), "ANABRANCH_HOME": str(self._home / "anabranch"),
            "IPYTHONDIR": str(self._home / "ipython"),
        }  # fmt: skip
        self._manager = KernelManager(kernel_name=NAME)
        self._manager.kernel_spec_manager.kernel_dirs = [str(self._home / "kernels")]
        self._manager.start_kernel(env=environ, cwd=str(self._home))
        try:
            self._client = self._manager.client()
            self._client.start_channels()
            self._client.wait_for_ready(timeout=PATIENCE)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        if hasattr(self, "_client"):
            self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)

    def begin(self, code: str) -> Cell:
        """Send a cell; it has not run when this returns."""
        id = self._client.execute(code)
        return self.cells.setdefault(id, Cell())

    def run(self, code: str) -> Cell:
        """Run a cell to its end."""
        cell = self.begin(code)
        self.until(lambda: cell.done)
        return cell

    def until(self, true: Any) -> None:
        """Take messages in until something is true; fails after `PATIENCE` seconds."""
        end = time.monotonic() + PATIENCE
        while not true():
            assert time.monotonic() < end, f"not in {PATIENCE} s: {self.cells}"
            try:
                self._take(self._client.get_iopub_msg(timeout=0.1))
            except queue.Empty:
                continue

    def interrupt(self) -> None:
        """Press the stop button."""
        self._manager.interrupt_kernel()

    def _take(self, message: dict[str, Any]) -> None:
        cell = self.cells.setdefault(message["parent_header"].get("msg_id", ""), Cell())
        kind, content = message["msg_type"], message["content"]
        cell.messages += 1
        cell.size += len(json.dumps(content))
        if kind == "stream":
            text = ANSI.sub("", content["text"])  # of a whole line at a time
            cell.coloured = cell.coloured or text != content["text"]
            setattr(cell, content["name"], getattr(cell, content["name"]) + text)
        elif kind == "execute_result":
            cell.results.append(content["data"])
        elif kind in ("display_data", "update_display_data"):
            name = content["transient"].get("display_id", "")
            if name:
                cell.outputs[name] = content["data"]
            if kind == "display_data":
                cell.displays.append(content["data"])
        elif kind == "error":
            cell.error, cell.trace = content["ename"], [ANSI.sub("", part) for part in content["traceback"]]
        elif kind == "status" and content["execution_state"] == "idle":
            cell.done = True
