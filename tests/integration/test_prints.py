"""Prints of runs are logged, whoever else puts a `print` of their own in place."""

from __future__ import annotations

import builtins
import sys
from typing import TYPE_CHECKING, Any

from anabranch import flow

if TYPE_CHECKING:
    import pytest

    from tests.integration.conftest import Place


def _logged(place: Place) -> list[str]:
    place.session.flush_records()
    run = place.records.flow_runs(limit=1)[0]
    return [line.message for line in place.records.logs(run.id) if line.message.startswith("said")]


def test_prints_are_logged_after_others_have_replaced_print(threads: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray does so in the driver."""

    @flow(log_prints=True)
    def speak(what: str) -> None:
        print("said", what)

    speak("one")
    assert _logged(threads) == ["said one"]
    ours = builtins.print

    def theirs(*values: Any, **options: Any) -> None:
        sys.stdout.write(" ".join(map(str, values)))

    monkeypatch.setattr(builtins, "print", theirs)
    speak("two")
    assert _logged(threads) == ["said two"]

    def around(*values: Any, **options: Any) -> None:
        ours(*values, **options)

    monkeypatch.setattr(builtins, "print", around)
    speak("three")
    assert _logged(threads) == ["said three"]
