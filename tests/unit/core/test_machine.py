"""What of the machine may be used, and settings that count bytes."""

from __future__ import annotations

import os

import pytest

from anabranch.core.errors import ConfigurationError
from anabranch.core.machine import usable_cpus, usable_memory
from anabranch.settings import load, parse


def test_what_may_be_used_is_at_most_what_there_is() -> None:
    assert 1 <= usable_cpus() <= (os.cpu_count() or 1)
    assert 0 < usable_memory() <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(("text", "value"), [("2 GiB", 2 << 30), ("0", 0), ("500MB", 500_000_000), (12, 12)])
def test_bytes_as_people_write_them(text: object, value: int) -> None:
    assert parse("memory_budget", text, "here") == value


def test_what_is_no_size_names_setting_and_place() -> None:
    with pytest.raises(ConfigurationError, match=r"ANABRANCH_MEMORY_BUDGET: setting 'memory_budget' wants bytes"):
        load({"ANABRANCH_MEMORY_BUDGET": "plenty"})
