"""Prefect's helpers for tests."""

from __future__ import annotations

import os
import tempfile
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from anabranch import session as sessions
from anabranch import settings as settings_module

if TYPE_CHECKING:
    from collections.abc import Iterator


def exceptions_equal(a: BaseException | None, b: BaseException | None) -> bool:
    """Return whether two exceptions have the same type and arguments."""
    return a is b or (type(a) is type(b) and getattr(a, "args", ()) == getattr(b, "args", ()))


@contextmanager
def assert_does_not_warn(ignore_warnings: list[type[Warning]] | None = None) -> Iterator[None]:
    """Fail where code in this block warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for kind in ignore_warnings or ():
            warnings.filterwarnings("ignore", category=kind)
        try:
            yield
        except Warning as warning:
            raise AssertionError(f"Warning was raised. {warning!r}") from warning


@contextmanager
def prefect_test_harness(server_startup_timeout: int | None = 30) -> Iterator[None]:
    """Run the flows of this block with a record and a result store of their own, which are gone afterwards."""
    with tempfile.TemporaryDirectory() as home, own_home(home):
        yield


@contextmanager
def own_home(folder: str) -> Iterator[None]:
    """Run the flows of this block with their record and their result store in this folder."""
    before = os.environ.get("ANABRANCH_HOME")
    os.environ["ANABRANCH_HOME"] = folder
    try:
        with own_session():
            yield
    finally:
        if before is None:
            os.environ.pop("ANABRANCH_HOME", None)
        else:
            os.environ["ANABRANCH_HOME"] = before


@contextmanager
def own_session(**given: Any) -> Iterator[Any]:
    """Give the code of this block a session of its own, by the settings as they are now."""
    with sessions.in_place(sessions.Session(settings_module.load(**given))) as found:
        yield found
