"""The tie to Ray: one a process, found or started, shared by all runners in it, and left as it was found."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import signal
import sys
import threading
from importlib.util import find_spec
from typing import Any

from anabranch.core import forks
from anabranch.core.errors import MissingExtraError, RunnerError, VersionMismatch
from anabranch.core.surroundings import Driver

_lock = threading.Lock()
_ready_for_copies = False
_started: dict[str, Driver] = {}  # by job, those that were started here, and what the driver had then
_uses: dict[str, int] = {}  # runners that use a Ray which one of them started or joined, by its job


def require() -> None:
    """See that Ray is installed, without importing it; raises MissingExtraError."""
    try:
        found = find_spec("ray") is not None
    except ValueError:
        found = False
    if not found:
        raise MissingExtraError("RayRunner needs Ray: pip install 'anabranch[ray]'")


class Link:
    """A use of this process's Ray; `close` ends it, and Ray with the last use if it was not here before.

    Args:
        address: of a running Ray; None: the one this process uses, that of RAY_ADDRESS, or one of our own.
        num_cpus: processors of one of our own.

    Raises:
        RunnerError: Ray cannot be reached or started, or this process uses another one already.
    """

    def __init__(self, address: str | None, num_cpus: int | None) -> None:
        # Before ray is imported: it reads them then.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        import ray

        self.ray: Any = ray
        be_plain_in_copies()
        self.own = False  # whether it was started for us, and so has the nodes it has
        with _lock:
            if ray.is_initialized():
                there = ray.get_runtime_context().gcs_address
                if address not in (None, "auto", there):
                    raise RunnerError(f"this process uses the Ray at {there} already, not the one at {address}")
                self._job = _job(ray)
            else:
                if _begin(ray, address, num_cpus):
                    _started[_job(ray)] = Driver(path=False)  # with what Ray has set here for the driver alone
                self._job = _job(ray)
                _uses[self._job] = 0
            self.began = _started.get(self._job)
            self.own = self.began is not None
            if self._job in _uses:
                _uses[self._job] += 1

    @property
    def lost(self) -> str:
        """Why there is no Ray behind this any more; empty while there is one."""
        return "" if self.ray.is_initialized() else "Ray was shut down"

    @property
    def dashboard(self) -> str:
        """The address of Ray's page, as Ray has it; "" where there is none, as in a Ray that was started here."""
        if self.own:
            return ""
        try:
            found = self.ray._private.worker.get_dashboard_url()
        except Exception:  # it is no public part of Ray
            return ""
        return f"http://{found}" if found and "://" not in found else found or ""

    def close(self, *, headless: bool = False) -> None:
        """Let go of Ray, once; never raises. One without a head is left as it is: its end would not come back."""
        with _lock:
            if self._job not in _uses:
                return
            _uses[self._job] -= 1
            if not _uses[self._job]:
                del _uses[self._job]
                _started.pop(self._job, None)
                with contextlib.suppress(Exception):
                    if headless:
                        _leave(self.ray)
                    elif not self.lost and _job(self.ray) == self._job:
                        self.ray.shutdown()


def be_plain_in_copies() -> None:
    """From now on forked copies of this process have none of what Ray has set up in it.

    Its handler would make exit code 1 of the SIGTERM that ends a child, and its end would wait for ever for threads
    that are not in the copy.
    """
    global _ready_for_copies
    if not _ready_for_copies:
        _ready_for_copies = True
        forks.in_copies(_be_plain)


def _be_plain() -> None:
    global _lock
    _lock = threading.Lock()
    atexit.unregister(sys.modules["ray"].shutdown)
    handler = signal.getsignal(signal.SIGTERM)
    if getattr(handler, "__module__", "").startswith("ray."):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _job(ray: Any) -> str:
    """Tells this tie to Ray from one that is made after it was cut."""
    context = ray.get_runtime_context()
    return f"{context.gcs_address} {context.get_job_id()}"


def _leave(ray: Any) -> None:
    """Let an error that ends the program be printed: Ray's hook would tell its head first, and never come back."""
    worker = ray._private.worker
    if sys.excepthook is worker.custom_excepthook:
        sys.excepthook = worker.normal_excepthook


def _begin(ray: Any, address: str | None, num_cpus: int | None) -> bool:
    """Join or start it; True: started."""
    address = address or os.environ.get("RAY_ADDRESS")
    if address is not None and address.startswith("ray://"):
        raise RunnerError(
            f"RayRunner does not work over Ray Client ({address}): run the driver on a machine of the cluster with "
            'address="auto" (or host:6379), or submit it there with `ray job submit`'
        )
    options: dict[str, Any] = {"address": address}
    if address is None:
        options = {"address": "local", "num_cpus": num_cpus, "include_dashboard": False}
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM) if main else None
    try:
        ray.init(**options, log_to_driver=False, configure_logging=False, logging_level=logging.WARNING)
    except Exception as error:
        if str(error).startswith("Version mismatch"):
            told = " ".join(str(error).split())
            raise VersionMismatch(f"the driver does not fit the Ray at {address}: {told}") from error
        where = f"reach the Ray at {address}" if address else "start Ray"
        raise RunnerError(f"cannot {where}: {_why(error)}") from error
    finally:
        if handler is not None:  # Ray puts its own there
            signal.signal(signal.SIGTERM, handler)
    return address is None


def _why(error: BaseException) -> str:
    """The error, or what it hides: that a token is missing or wrong."""
    found: BaseException | None = error
    while found is not None:
        if "InvalidAuthToken" in str(found) or type(found).__name__ == "AuthenticationError":
            return (
                "it asks for a token, and the one given here is missing or wrong: set RAY_AUTH_MODE=token and "
                "RAY_AUTH_TOKEN (or RAY_AUTH_TOKEN_PATH) as on its nodes"
            )
        found = found.__cause__ or found.__context__
    return f"{type(error).__name__}: {error}"
