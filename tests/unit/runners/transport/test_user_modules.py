"""Which of the user's modules travel, and what a worker says that has not got one of the others."""

from __future__ import annotations

import importlib
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.core.errors import SerializationError
from anabranch.runners.transport.user_modules import UserModules
from anabranch.tasks import task

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Any]:
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(name: str, source: str) -> Any:
        (tmp_path / f"{name}.py").write_text(source)
        monkeypatch.delitem(sys.modules, name, raising=False)
        return importlib.import_module(name)

    return make


PLAIN = "def base(x): return x + 1\n"
LOCKED = "import threading, travels_a\nLOCK = threading.Lock()\ndef work(x):\n    with LOCK: return travels_a.base(x)\n"


def test_only_what_cannot_travel_is_left_to_be_imported(module: Any) -> None:
    module("travels_a", PLAIN)
    locked = module("stays_a", LOCKED)
    modules = UserModules()
    payload = modules.shared(task(locked.work).spec)
    assert list(modules.travelling) == ["travels_a"]
    assert list(modules.named) == ["stays_a"]
    assert "work.fn.__globals__['LOCK']" in modules.named["stays_a"]
    assert payload.load().fn is locked.work
    modules.shared(task(locked.work).spec)
    assert list(modules.travelling) == ["travels_a"]


def test_a_worker_without_the_module_makes_it_of_its_source(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    module("travels_a", PLAIN)
    locked = module("stays_c", LOCKED.replace("base(x)", "base(x) * FACTOR") + "FACTOR = 1\n")
    locked.FACTOR = 10
    spec = task(locked.work).spec
    spec.computed.look()
    payload = UserModules().shared(spec)
    monkeypatch.delitem(sys.modules, "stays_c")
    monkeypatch.setattr(sys, "path", sys.path[1:])
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    assert payload.load().fn(1) == 20, "with what the driver's holds"
    assert sys.modules["stays_c"] is not locked


def test_a_worker_without_module_and_source_says_why_it_did_not_travel(
    module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module("travels_a", PLAIN)
    locked = module("stays_b", LOCKED)
    (tmp_path / "stays_b.py").unlink()
    payload = UserModules().shared(task(locked.work).spec)
    sent = payload.__reduce_ex__(4)
    monkeypatch.delitem(sys.modules, "stays_b")
    monkeypatch.setattr(sys, "path", sys.path[1:])
    arrived = sent[0](*sent[1])
    with pytest.raises(ModuleNotFoundError, match=r"'stays_b' does not travel .*\['LOCK'\].* cannot import it"):
        arrived.load()


def test_a_module_is_not_blamed_for_what_is_the_tasks_own(module: Any) -> None:
    plain = module("travels_a", PLAIN)
    lock = threading.Lock()

    def work(x: int) -> Any:
        with lock:
            return plain.base(x)

    modules = UserModules()
    with pytest.raises(SerializationError, match=r"work\.fn\.__closure__\['lock'\]"):
        modules.shared(task(work).spec)
    assert modules.named == {}
