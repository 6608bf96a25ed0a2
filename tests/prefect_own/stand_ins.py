"""A plugin for Prefect's own test files: what they import and we lack is there, and fails the test that calls it.

Their modules import much of Prefect's inside and server at their heads. A stand-in lets the module be imported; a call
of one raises `Lacking`. Fixtures of the same names as theirs skip what needs a server.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

import anabranch.compat.prefect  # noqa: F401 - the names come first
from anabranch.compat.aliases import Aliases

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Lacking(NotImplementedError):
    """Raised where a test uses what anabranch does not have."""


_collecting = [True]


class _Meta(type):
    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return stand_in(f"{cls.__name__}.{name}")

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if _collecting:  # at the head of a module, or in a list of parameters
            return stand_in(cls.__name__)
        raise Lacking(cls.__name__)


def stand_in(name: str) -> Any:
    return _Meta(name, (), {"__doc__": "what anabranch does not have"})


class Lenient(ModuleType):
    """A module in which every name is found."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        ours = self.__name__.startswith("anabranch")
        try:  # a submodule that was not imported yet
            found = importlib.import_module(f"{self.__name__}.{name}") if ours and hasattr(self, "__path__") else None
        except ModuleNotFoundError:
            found = None
        if found is None:
            found = stand_in(f"{self.__name__}.{name}")
        setattr(self, name, found)
        return found


class StandIns(MetaPathFinder, Loader):
    """Finds what the compatible modules lack."""

    def __init__(self, known: Aliases) -> None:
        self.known = known

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] not in ("prefect", "prefect_dask", "prefect_ray", "prefect_shell"):
            return None
        try:
            spec = self.known.find_spec(fullname, path, target)
        except ModuleNotFoundError:
            return ModuleSpec(fullname, self, is_package=True)
        if spec is not None and spec.loader is not None:
            spec.loader = _Opened(spec.loader)
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return Lenient(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        module.__path__ = []


class _Opened(Loader):
    """Loads one of our modules, and lets names be found in it that it lacks."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.inner.create_module(spec)  # type: ignore[no-any-return]

    def exec_module(self, module: ModuleType) -> None:
        self.inner.exec_module(module)
        if "__lacking__" in vars(module):  # placeholders refuse calls at the head of a module
            inner = vars(module)["__lacking__"]
            vars(module).pop("__getattr__") if inner is None else vars(module).update(__getattr__=inner)
        module.__class__ = Lenient


def pytest_configure(config: pytest.Config) -> None:
    known = next(one for one in sys.meta_path if isinstance(one, Aliases))
    sys.meta_path.insert(0, StandIns(known))
    for name in [name for name in sys.modules if name.partition(".")[0] == "prefect"]:
        del sys.modules[name]
    for mark in ("service", "enable_api_log_handler", "clear_db", "windows", "unix"):
        config.addinivalue_line("markers", f"{mark}: of Prefect's own tests")


def pytest_collection_finish(session: pytest.Session) -> None:
    _collecting.clear()


def _server() -> None:
    pytest.skip("needs Prefect's server")


def _skipping(name: str) -> Any:
    @pytest.fixture(name=name)
    def fixture() -> None:
        _server()

    return fixture


SERVER = """
    prefect_client sync_prefect_client events_pipeline hosted_api_server session flow_run task_run deployment work_pool
    in_memory_prefect_client test_client app asserting_events_worker reset_worker_events flow remote_storage
"""
globals().update({f"skip_{name}": _skipping(name) for name in SERVER.split()})


@pytest.fixture
def use_hosted_api_server() -> None:
    """Theirs gives the runs of a test a server: ours need none."""


@pytest.fixture
def ignore_prefect_deprecation_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
