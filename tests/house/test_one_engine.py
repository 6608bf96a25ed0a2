"""One engine for sync and async: policy is generators; where a coroutine stands, it only drives or waits."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2] / "anabranch"

# Every coroutine of ours outside of other people's names (compat), of Dask's loops, a client's, a server's and that of
# a cluster's scheduler. None of them decides anything: they drive a policy, wait for a wake-up, or let the async items
# of a chunk share one loop.
DRIVERS = {
    "engine/drive.py": {
        "run_async", "stream_async", "pause", "_advance_async", "_call_async", "_limited", "listed", "awaited",
    },
    "worker/together.py": {"together", "one", "_deep", "_inside", "_stage"},
    "runs/task_calls.py": {"run_async"},
    "transactions/transaction.py": {"__aenter__", "__aexit__"},
    "runs/cancellation.py": {"pause"},
    "runs/flow_begin.py": {"go_async"},
    "runs/flow_execution.py": {"go_async"},
    "core/streams.py": {"__anext__"},
    "display/watch/app.py": {"_watch", "_act", "_explain", "_open_log", "_asked"},  # on Textual's loop
    "driver/scope.py": {"pause"},
    "driver/waiting.py": {"pause"},
    "launch/kubernetes_logs.py": {"_follow", "_read"},  # on the loop of a connection
    "limits/tickets.py": {"__aenter__", "__aexit__"},
    "worker/nested_scope.py": {"pause"},
}


def coroutines() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for path in ROOT.rglob("*.py"):
        where = path.relative_to(ROOT).as_posix()
        if where.startswith(("runners/dask", "clusters/", "compat/", "kubernetes/", "server/", "testing/")):
            continue
        names = {n.name for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.AsyncFunctionDef)}
        if names:
            found[where] = names
    return found


def test_coroutines_are_drivers_and_nothing_else() -> None:
    assert coroutines() == DRIVERS


def test_no_function_has_an_a_prefixed_twin() -> None:
    for path in ROOT.rglob("*.py"):
        if path.is_relative_to(ROOT / "compat"):  # other people's names, twins and all
            continue
        tree = ast.parse(path.read_text())
        names = {n.name for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))}
        twins = {name for name in names if "a" + name in names and len(name) > 2}
        assert not twins, f"{path}: {twins}"
