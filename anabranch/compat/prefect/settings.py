"""Prefect's settings, as far as they change how flows run: each from its environment variable, or given for a block."""

from __future__ import annotations

import os
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(frozen=True)
class Setting:
    """One setting.

    Args:
        name: of its environment variable.
        default: its value where nothing sets it, of its type.
    """

    name: str
    default: Any = None

    def value(self) -> Any:
        """Return the value in effect here."""
        given = _given.get()
        found = given[self.name] if self.name in given else os.environ.get(self.name, self.default)
        return self._read(found) if isinstance(found, str) else found

    def _read(self, text: str) -> Any:
        if isinstance(self.default, bool):
            return text.strip().lower() in ("1", "true", "yes", "on", "t", "y")
        if isinstance(self.default, (int, float)):
            return type(self.default)(text)
        return text

    def __bool__(self) -> bool:
        return bool(self.value())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Setting) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)


_given: ContextVar[Mapping[str, Any]] = ContextVar("prefect_settings", default=MappingProxyType({}))

_KNOWN: dict[str, Any] = {
    "PREFECT_API_KEY": None,
    "PREFECT_API_URL": None,
    "PREFECT_CLOUD_API_URL": "",
    "PREFECT_CLOUD_UI_URL": "",
    "PREFECT_DEBUG_MODE": False,
    "PREFECT_DEFAULT_RESULT_STORAGE_BLOCK": None,
    "PREFECT_DEFAULT_WORK_POOL_NAME": None,
    "PREFECT_FLOW_DEFAULT_RETRIES": 0,
    "PREFECT_FLOW_DEFAULT_RETRY_DELAY_SECONDS": 0.0,
    "PREFECT_FLOWS_DEFAULT_RETRIES": 0,
    "PREFECT_HOME": str(Path("~/.prefect").expanduser()),
    "PREFECT_LOCAL_STORAGE_PATH": None,
    "PREFECT_LOGGING_LEVEL": "INFO",
    "PREFECT_LOGGING_LOG_PRINTS": False,
    "PREFECT_LOGGING_TO_API_ENABLED": False,
    "PREFECT_PROFILES_PATH": "",
    "PREFECT_RESULTS_DEFAULT_SERIALIZER": "pickle",
    "PREFECT_RESULTS_PERSIST_BY_DEFAULT": False,
    "PREFECT_TASK_DEFAULT_RETRIES": 0,
    "PREFECT_TASK_DEFAULT_RETRY_DELAY_SECONDS": 0.0,
    "PREFECT_TASK_RUNNER_THREAD_POOL_MAX_WORKERS": None,
    "PREFECT_TASK_SCHEDULING_DEFAULT_STORAGE_BLOCK": None,
    "PREFECT_TASKS_DEFAULT_NO_CACHE": False,
    "PREFECT_TASKS_DEFAULT_PERSIST_RESULT": None,
    "PREFECT_TASKS_DEFAULT_RETRIES": 0,
    "PREFECT_TASKS_DISABLE_CACHING": False,
    "PREFECT_TASKS_REFRESH_CACHE": False,
    "PREFECT_TASKS_RUNNER_PROCESS_POOL_MAX_WORKERS": None,
    "PREFECT_TASKS_RUNNER_THREAD_POOL_MAX_WORKERS": None,
    "PREFECT_TASKS_TAG_CONCURRENCY_SLOT_WAIT_SECONDS": 30.0,
    "PREFECT_TEST_MODE": False,
    "PREFECT_UI_URL": None,
}
_made: dict[str, Setting] = {}


def __getattr__(name: str) -> Setting:
    if not name.startswith("PREFECT_"):
        raise AttributeError(f"module 'prefect.settings' has no attribute {name!r}")
    return _made.setdefault(name, Setting(name, _KNOWN.get(name)))


def setting(name: str) -> Any:
    """Return the value of a setting in effect here."""
    return __getattr__(name).value()


@contextmanager
def temporary_settings(
    updates: Mapping[Any, Any] | None = None, set_defaults: Mapping[Any, Any] | None = None,
    restore_defaults: Any = None,
) -> Iterator[Any]:  # fmt: skip
    """Give settings other values in this block."""
    now = dict(_given.get())
    now.update({_name(key): value for key, value in (set_defaults or {}).items() if _name(key) not in now})
    now.update({_name(key): value for key, value in (updates or {}).items()})
    for key in restore_defaults or ():
        now[_name(key)] = _KNOWN.get(_name(key))
    token = _given.set(now)
    try:
        yield get_current_settings()
    finally:
        _given.reset(token)


def _name(key: Any) -> str:
    return key.name if isinstance(key, Setting) else str(key)


def local_storage_path() -> Path:
    """Return the folder for results: of the setting, else one in anabranch's home."""
    given = setting("PREFECT_LOCAL_STORAGE_PATH")
    home = Path(os.environ.get("ANABRANCH_HOME", "~/.anabranch"))
    return Path(given) if given else home.expanduser() / "prefect-storage"


def get_current_settings() -> Any:
    """Return the settings in effect here, in groups."""
    return SimpleNamespace(
        api=SimpleNamespace(url=setting("PREFECT_API_URL"), key=None),
        debug_mode=setting("PREFECT_DEBUG_MODE"),
        flows=SimpleNamespace(default_retries=setting("PREFECT_FLOW_DEFAULT_RETRIES")),
        home=Path(setting("PREFECT_HOME")),
        logging=SimpleNamespace(level=setting("PREFECT_LOGGING_LEVEL")),
        results=SimpleNamespace(
            default_serializer=setting("PREFECT_RESULTS_DEFAULT_SERIALIZER"),
            local_storage_path=local_storage_path(),
            persist_by_default=setting("PREFECT_RESULTS_PERSIST_BY_DEFAULT"),
        ),
        tasks=SimpleNamespace(default_retries=setting("PREFECT_TASK_DEFAULT_RETRIES")),
        ui_url=setting("PREFECT_UI_URL"),
    )
