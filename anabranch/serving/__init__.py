"""The wiring of the service: settings become a service in a database or over HTTP, its steps, and agents."""

from __future__ import annotations

import atexit
import importlib
import sys
import threading
from typing import TYPE_CHECKING, Any

from anabranch import settings as settings_module
from anabranch.core import forks
from anabranch.core.errors import ConfigurationError
from anabranch.core.lazy import lazily

if TYPE_CHECKING:
    from pathlib import Path

    from anabranch.core.service import Service
    from anabranch.settings import Settings

# What flows do about their deployments; loaded by the first that does.
__getattr__ = lazily(
    __name__, definition="described", deploy="flow_deployments", from_source="sources", register="flow_deployments",
    serve_flow="serve", to_deployment="flow_deployments",
)  # fmt: skip
_current: Service | None = None
_lock = threading.Lock()


def current() -> Service:
    """Return the program's service, opened at the first call: where its record is.

    Raises:
        ConfigurationError: the record is of a kind that has no service.
        RecordsError: the record is damaged, out of reach, or needs a newer anabranch.
    """
    global _current
    with _lock:
        if _current is None:
            _current = opened(chosen())
            atexit.register(_current.close)
        return _current


def chosen() -> Settings:
    """Return the program's settings; commands of the service have no session, and do not load its code."""
    session = sys.modules.get("anabranch.session")
    found: Settings = settings_module.load() if session is None else session.chosen()
    return found


def use(service: Service | None) -> Service | None:
    """Put another service in place; returns the one before, which stays open."""
    global _current
    with _lock:
        before, _current = _current, service
    return before


def opened(settings: Settings) -> Service:
    """Return the service of the settings, as of `current`; its caller closes it."""
    place = settings.records_place
    if over_http(settings):
        remote: Service = _name("service.remote", "RemoteService")(str(place), settings.api_key)
        return remote
    direct: Service = _name("", "open_service")(place, shared=settings.records_shared)
    return direct


def send_left(settings: Settings, run: str, home: Path, key: str) -> None:
    """Send what the driver of a run left in the outbox of a home to the settings' server, see `outbox.push_left`."""
    _name("outbox", "push_left")(home / "outbox", settings.records, key, run)


def over_http(settings: Settings) -> bool:
    """Return whether the record, and with it the service, is a server's."""
    return settings.records.startswith(("http://", "https://"))


def _name(module: str, name: str) -> Any:
    """Return a name of `records/`; raises ConfigurationError where this anabranch does not have it."""
    try:
        return getattr(importlib.import_module(f"anabranch.records.{module}".rstrip(".")), name)
    except (ModuleNotFoundError, AttributeError) as error:
        raise ConfigurationError(f"this anabranch cannot open a service: {error}") from None


def _begin_anew() -> None:
    """Let go of the service in a forked copy: its connections are the other process's."""
    global _current, _lock
    _current, _lock = None, threading.Lock()


forks.in_copies(_begin_anew)
