"""Lists that are dropped, and maps that are made, in several threads at once."""

from __future__ import annotations

import re
import sys
import threading
from types import SimpleNamespace
from typing import Any

from anabranch.driver.dropped_lists import DroppedLists

THREADS, MAPS, ITEMS = 4, 2_000, 3


class Fields:
    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)


def map_of(serial: int) -> Any:
    header = SimpleNamespace(flow_run_id="", parent_id="", serial=serial, dropped=False)
    return Fields(
        kind="map", unheld=True, finished=False, codes=bytes(ITEMS), done=0, header=header,
        sending=SimpleNamespace(lane=0), queue=SimpleNamespace(sent=0), spec=SimpleNamespace(name="load"),
    )  # fmt: skip


def test_threads_tell_of_each_dropped_list_once() -> None:
    told: list[str] = []
    errors: list[BaseException] = []
    dropped = DroppedLists(told.append, lambda work: work, lambda work: None)
    newest = map_of(THREADS * MAPS + 1)

    def drop_and_make(first: int) -> None:
        try:
            for serial in range(first, first + MAPS):
                dropped.gone(map_of(serial))
                dropped.watch(None, newest)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=drop_and_make, args=(n * MAPS,)) for n in range(THREADS)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    finally:
        sys.setswitchinterval(interval)
    assert errors == []
    totals = [re.search(r"of ([\d,]+) items are left", line) for line in told]
    assert sum(int(found[1].replace(",", "")) for found in totals if found) == ITEMS * THREADS * MAPS
