"""The record of a map of a million: its size after compaction, its writer's share of the time."""

from __future__ import annotations

import functools
import os
import sqlite3
import threading
import time

from benchmarks.measure import expect_sum, flush, in_flow, inc, own_seconds, runner_of, tree
from benchmarks.rows import Bar, Figures, Row

WRITER = "anabranch-records"


def used_bytes() -> tuple[int, int]:
    """(used, all) bytes of the record's pages."""
    from anabranch import session

    with sqlite3.connect(session.current().settings.records_path) as database:
        pages, free, size = (
            int(database.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_count", "freelist_count", "page_size")
        )
    return (pages - free) * size, pages * size


def writer_seconds() -> float:
    for thread in threading.enumerate():
        if thread.name == WRITER and thread.ident is not None:
            return time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
    return 0.0


def cpu_seconds() -> float:
    """Of this process, its descendants, and those that it has waited for."""
    ended = os.times()
    return ended.children_user + ended.children_system + sum(map(own_seconds, tree(os.getpid())))


def record(kind: str, quick: bool) -> Figures:
    from anabranch import task

    n = 100_000 if quick else 1_000_000
    one = task(inc)

    def body() -> Figures:
        flush()
        base, whole = used_bytes()
        cpu, writer = cpu_seconds(), writer_seconds()
        expect_sum(one.map(range(n)).result(), n)
        flush()
        time.sleep(1.0)  # sealing follows the commit
        flush()
        after, all_after = used_bytes()
        return {
            "bytes_each": (after - base) / n,
            "file_bytes_each": (all_after - whole) / n,
            "writer_share": (writer_seconds() - writer) / (cpu_seconds() - cpu),
            "writer_s": writer_seconds() - writer,
        }

    return in_flow(runner_of(kind), body)


def row(kind: str) -> Row:
    return Row(
        f"record_{kind}", f"record of a map of 1M, {kind}", functools.partial(record, kind),
        (
            Bar("bytes_each", "bytes an item", at_most=40),
            Bar("file_bytes_each", "bytes an item, free pages too"),
            Bar("writer_share", "of the tree's CPU time", at_most=0.05),
        ),
        most=3,
    )  # fmt: skip


ROWS = tuple(map(row, ("threads", "processes", "dask", "ray")))
