"""What the driver of an order left in its outbox: its agent sends it before the driver's end is told.

The server was away when the driver ended, or when it was killed. The end of the run may be among these rows, and then
nothing of the run is to be done again.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from anabranch import serving
from anabranch.launch import script

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.settings import Settings


def sender(settings: Settings) -> Callable[[str, Path], None]:
    """Return the call by which an agent of these settings sends what a run's driver left, given its job's folder.

    It does nothing where drivers write to a database themselves. It raises UnreachableError where the server does not
    answer, and RecordsError or OSError where rows are refused, cannot be read, or are being sent by another program.
    """

    def send(run: str, folder: Path) -> None:
        # A job that another agent started has its key, and its home, in its script alone.
        key = script.variable(folder, "ANABRANCH_API_KEY") or settings.api_key
        home = Path(script.variable(folder, "ANABRANCH_HOME") or settings.home)
        serving.send_left(settings, run, home, key)

    return send if serving.over_http(settings) else lambda _, __: None
