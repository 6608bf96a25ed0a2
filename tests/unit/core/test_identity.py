"""What a function is: told apart by all that it computes with, the same in every process, and never guessed at."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest

from anabranch.core.identity import Identity, identity_of

REPOSITORY = Path(__file__).resolve().parents[3]
HEAD = """
import abc, dataclasses, enum, functools, logging, threading
import numpy as np
from anabranch import flow, task
lock, log, logger, local = threading.Lock(), [], logging.getLogger("x"), threading.local()
"""


def module(source: str, name: str = "cell") -> types.ModuleType:
    """A module like a notebook's: its code is in no file."""
    made = types.ModuleType(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, name, made)
        exec(compile(HEAD + source, f"<{name}>", "exec"), made.__dict__)
    return made


def identity(source: str) -> Identity:
    """What `f` is in a module of this source."""
    return identity_of(module(source).f)


# What of a source makes `f` another function: two texts to put in the place of X.
TOLD_APART = {
    "its code": ("def f(x): return x + X", "1", "2"),
    "the type of a constant": ("def f(x): return X", "1", "1.0"),
    "a lambda": ("f = lambda x: X", "1", "2"),
    "an inner function": ("def f(x):\n def g(): return X\n return g()", "1", "2"),
    "a comprehension": ("def f(xs): return [x + X for x in xs]", "1", "2"),
    "a default": ("def f(x, y=X): return y", "1", "2"),
    "a keyword default": ("def f(x, *, y=X): return y", "1", "2"),
    "a closure": ("def make(n):\n def f(x): return x + n\n return f\nf = make(X)", "1", "2"),
    "a global": ("n = X\ndef f(x): return x + n", "1", "2"),
    "a global array": ("n = np.array([1, X])\ndef f(x): return n", "1", "2"),
    "a global dict": ("n = {'a': [X]}\ndef f(x): return n['a']", "1", "2"),
    "a global of an inner function": ("n = X\ndef f(x): return (lambda: n)()", "1", "2"),
    "a helper": ("def h(x): return X\ndef f(x): return h(x)", "1", "2"),
    "a helper of a helper": ("n = X\ndef g(x): return n\ndef h(x): return g(x)\ndef f(x): return h(x)", "1", "2"),
    "recursion": ("def f(x): return f(x - 1) if x else X", "1", "2"),
    "mutual recursion": ("def g(x): return f(x) if x else X\ndef f(x): return g(x - 1)", "1", "2"),
    "a class's data": ("class K:\n gain = X\ndef f(x): return K.gain", "1", "2"),
    "a class's method": ("class K:\n def m(self): return X\ndef f(x): return K().m()", "1", "2"),
    "a base class's method": (
        "class A:\n def m(self): return X\nclass K(A): pass\ndef f(x): return K().m()", "1", "2",
    ),
    "a metaclass": (
        "class M(type):\n def m(cls): return X\nclass K(metaclass=M): pass\ndef f(x): return K.m()", "1", "2",
    ),
    "a property": ("class K:\n @property\n def p(self): return X\ndef f(x): return K().p", "1", "2"),
    "a cached property": (
        "class K:\n @functools.cached_property\n def p(self): return X\ndef f(x): return K().p", "1", "2",
    ),
    "a static method": ("class K:\n @staticmethod\n def s(): return X\ndef f(x): return K.s()", "1", "2"),
    "a class method": ("class K:\n @classmethod\n def c(cls): return X\ndef f(x): return K.c()", "1", "2"),
    "the class around a method": ("class K:\n gain = X\n def m(self): return self.gain\nf = K.m", "1", "2"),
    "a dataclass's default": ("@dataclasses.dataclass\nclass P:\n x: int = X\ndef f(x): return P()", "1", "2"),
    "an enum's member": ("class E(enum.Enum):\n A = X\ndef f(x): return E.A", "1", "2"),
    "an abstract class": (
        "class K(abc.ABC):\n @abc.abstractmethod\n def m(self): return X\ndef f(x): return K", "1", "2",
    ),
    "self": ("class K:\n def __init__(self, k): self.k = k\n def m(self, x): return self.k\nf = K(X).m", "1", "2"),
    "self in slots": (
        "class K:\n __slots__ = ('k',)\n def __init__(self, k): self.k = k\n def m(self, x): return 1\nf = K(X).m",
        "1", "2",
    ),
    "a callable object": (
        "class K:\n def __init__(self, k): self.k = k\n def __call__(self, x): return 1\nf = K(X)", "1", "2",
    ),
    "what a callable object does": ("class K:\n def __call__(self, x): return X\nf = K()", "1", "2"),
    "a partial's argument": ("def g(k, x): return k\nf = functools.partial(g, X)", "1", "2"),
    "a partial's keyword": ("def g(x, k): return k\nf = functools.partial(g, k=X)", "1", "2"),
    "a partial's function": ("def g(x): return X\nf = functools.partial(g)", "1", "2"),
    "what is wrapped": (
        "def deco(g):\n @functools.wraps(g)\n def w(x): return g(x)\n return w\n@deco\ndef f(x): return X", "1", "2",
    ),
    "what wraps": (
        "def deco(g):\n @functools.wraps(g)\n def w(x): return g(x) + X\n return w\n@deco\ndef f(x): return 0",
        "1", "2",
    ),
    "a cached function": ("@functools.lru_cache\ndef g(x): return X\ndef f(x): return g(x)", "1", "2"),
    "a dispatched function": ("@functools.singledispatch\ndef g(x): return X\ndef f(x): return g(x)", "1", "2"),
    "a coroutine function": ("async def f(x): return X", "1", "2"),
    "a generator function": ("def f(x): yield X", "1", "2"),
    "another task": ("@task\ndef g(x): return X\ndef f(x): return g(x)", "1", "2"),
    "another flow": ("@flow\ndef g(x): return X\ndef f(x): return g(x)", "1", "2"),
    "a function's attribute": ("def f(x): return f.k\nf.k = X", "1", "2"),
    "a list that is read too": ("def f(x):\n seen.append(x)\n return len(seen)\nseen = [X]", "1", "2"),
    "an object with a lock": (
        "class C:\n def __init__(self): self.lock, self.k = lock, X\nc = C()\ndef f(x): return c.k", "1", "2",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", TOLD_APART)
def test_told_apart(what: str) -> None:
    source, one, two = TOLD_APART[what]
    first, again, other = (identity(source.replace("X", value)) for value in (one, one, two))
    assert first == again
    assert not first.opaque
    assert first.state != other.state


ALIKE = {
    "comments and names of lines": ("def f(x):\n\n X\n return x", "# a", "# b"),
    "what it does not read": ("n = X\ndef f(x): return x", "1", "2"),
    "a log that it only adds to": ("def f(x): log.append(x); return x\nlog += X", "[]", "[1, 2]"),
    "a log in a closure": ("def make(seen):\n def f(x): seen.add(x); return x\n return f\nf = make(X)", "set()", "{1}"),
    "a lock": ("def f(x):\n with lock: return x\nlock = X", "threading.Lock()", "lock"),
    "the order of a dict": ("n = X\ndef f(x): return n", "{'a': 1, 'b': 2}", "{'b': 2, 'a': 1}"),
}


@pytest.mark.parametrize("what", ALIKE)
def test_alike(what: str) -> None:
    source, one, two = ALIKE[what]
    found = [identity(source.replace("X", value)) for value in (one, two)]
    assert found[0] == found[1]
    assert found[0].state


def test_what_cannot_be_told_apart_is_named() -> None:
    def of(source: str) -> str:
        found = identity(source)
        assert (found.state == "") == bool(found.opaque)
        assert found.code
        return found.opaque

    made = "made = (n for n in [1])\n"
    assert "f.__closure__['held']" in of(f"{made}def make(held):\n def f(x): return held\n return f\nf = make(made)")
    assert "f.__defaults__[0]" in of(f"{made}def f(x, held=made): return held")
    assert "K.m.__self__.held" in of(f"{made}class K:\n def m(self, x): return 1\nk = K()\nk.held = made\nf = k.m")
    assert "h.__defaults__" in of(f"{made}def h(x, held=made): return x\ndef f(x): return h(x)")
    assert "[0]" in of(f"{made}f = functools.partial(print, made)")
    assert of("def make(held):\n def f(x): return held\n return f\nf = make(threading.Event())") == ""
    for free in ("(n for n in [1])", "lock", "local", "logger", "logger.parent", "print", "np", "threading"):
        assert of(f"n = {free}\ndef f(x): return n") == ""


def test_changed_code_and_changed_values_are_two_things() -> None:
    source = "n = {}\ndef f(x): return n"
    one, two = identity(source.format(1)), identity(source.format(2))
    assert one.code == two.code
    assert one.state != two.state
    assert identity("def f(x): return 1").code != identity("def f(x): return 2").code
    assert identity("def f(x, y=1): return 1").code != identity("def f(x, y=2): return 1").code


def test_attributes_of_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    helper = module("FACTOR = 1\nOTHER = 1\ndef scale(x): return x * FACTOR", "helper_of_ours")
    monkeypatch.setitem(sys.modules, "helper_of_ours", helper)
    sources = {
        "import helper_of_ours\ndef f(x): return helper_of_ours.FACTOR": False,
        "import helper_of_ours\ndef f(x): return helper_of_ours.scale(x)": False,
        "from helper_of_ours import scale\ndef f(x): return scale(x)": False,
        "def f(x):\n import helper_of_ours\n return helper_of_ours.FACTOR": True,
        "def f(x):\n from helper_of_ours import FACTOR\n return FACTOR": False,
        "import helper_of_ours as h\ndef f(x): return getattr(h, 'FACTOR')": True,
    }
    made = {source: module(source).f for source in sources}
    before = {source: identity_of(f).state for source, f in made.items()}
    helper.OTHER = 2  # type: ignore[attr-defined]
    for source, whole in sources.items():
        assert (identity_of(made[source]).state != before[source]) is whole, source
    helper.FACTOR = 2  # type: ignore[attr-defined]
    assert not any(identity_of(f).state == before[source] for source, f in made.items())


def test_installed_code_counts_by_its_name() -> None:
    assert identity_of(np.linalg.inv) == identity_of(np.linalg.inv)
    assert identity_of(np.linalg.inv).state != identity_of(np.linalg.det).state
    assert identity("def f(x): return np.sum(x)").state == identity("def f(x): return np.sum(x)").state


def test_deep_programs_end() -> None:
    chain = "\n".join(f"def f{n}(x): return f{n + 1}(x)" for n in range(3000))
    assert identity(f"{chain}\ndef f3000(x): return 1\nf = f0").state
    dense = "\n".join(f"def f{n}(x): return [{', '.join(f'f{m}' for m in range(60))}]" for n in range(60))
    assert identity(f"{dense}\nf = f0").state
    deep = "n = []\nfor _ in range(10_000): n = [n]\ndef f(x): return n"
    assert "nested too deeply" in identity(deep).opaque


def test_objects_are_not_trusted() -> None:
    class Awkward:
        asked: list[str] = []  # noqa: RUF012

        def __getattr__(self, name: str) -> Any:
            raise KeyError(name)

        def __reduce_ex__(self, protocol: Any) -> Any:
            raise RuntimeError("not me")

        def __eq__(self, other: object) -> bool:
            raise RuntimeError("not me")

        __hash__ = None  # type: ignore[assignment]

    awkward = Awkward()
    assert identity_of(lambda: awkward).state


SAME = {
    name: source.replace("X", one) for name, (source, one, _) in TOLD_APART.items() if name != "a cached function"
}


def test_the_same_in_every_process() -> None:
    """Other processes, each with its own hash seed, answer the same; and so does a copy that came by value."""
    code = (
        "import json, sys\n"
        f"sys.path.insert(0, {str(REPOSITORY)!r})\n"
        "from tests.unit.core.test_identity import SAME, identity\n"
        "print(json.dumps([identity(source).state for source in SAME.values()]))"
    )
    here = [identity(source).state for source in SAME.values()]
    for seed in ("1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": seed}
        found = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
        assert json.loads(found.stdout) == here


UNPICKLABLE = {"a dispatched function", "an object with a lock", "a cached property"}


@pytest.mark.parametrize("what", sorted(SAME.keys() - UNPICKLABLE - {"the class around a method"}))
def test_a_copy_is_the_same(what: str) -> None:
    made = module(SAME[what], "__main__")
    copy = cloudpickle.loads(cloudpickle.dumps(made.f))
    assert identity_of(copy).state == identity_of(made.f).state




MEMO: dict[int, int] = {}
SEEN: set[int] = set()
COUNT = 0
COUNTS = {"calls": 0}
CLIENT: Any = None
CONFIG = {"k": 1}


def with_memo(x: int) -> int:
    if x not in MEMO:
        MEMO[x] = x + 1
    return MEMO[x]


def once(x: int) -> bool:
    if x in SEEN:
        return False
    SEEN.add(x)
    return True


def counted() -> int:
    global COUNT
    COUNT += 1
    return COUNT


def counted_by_name() -> int:
    COUNTS["calls"] += 1
    return COUNTS["calls"]


def with_client() -> Any:
    global CLIENT
    if CLIENT is None:
        CLIENT = "made at first use"
    return CLIENT


def configured(found: dict[str, Any]) -> int:
    found["config"] = CONFIG
    return CONFIG["k"]


@pytest.mark.parametrize("fn", [with_memo, once, counted, counted_by_name, with_client, configured])
def test_working_state_is_left_out_where_told(fn: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A memo is full in one driver and empty in the next; what code only reads is no working state."""
    before = [identity_of(fn, working=working) for working in (True, False)]
    monkeypatch.setitem(MEMO, 1, 2)
    monkeypatch.setattr(sys.modules[__name__], "SEEN", {1})
    monkeypatch.setattr(sys.modules[__name__], "COUNT", 1)
    monkeypatch.setitem(COUNTS, "calls", 1)
    monkeypatch.setattr(sys.modules[__name__], "CLIENT", "another")
    monkeypatch.setitem(CONFIG, "k", 2)
    after = [identity_of(fn, working=working) for working in (True, False)]
    assert before[0].state != after[0].state
    assert (before[1] == after[1]) == (fn is not configured)
