"""What a job executes where it cannot do its work: a sentence that its log ends with."""

from __future__ import annotations

import pytest

from anabranch.clusters import join


def test_a_job_that_reaches_no_scheduler_ends_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(join, "first_reached", lambda addresses, seconds: ("", ""))
    with pytest.raises(SystemExit, match=r"reaches none of the scheduler's addresses tls://a:1, tls://b:1; "):
        join.main(["tls://a:1,tls://b:1", "--name", "c-1"])
