"""What has to be the same for a driver and its workers: pickles of code are read by the version that wrote them."""

from __future__ import annotations

import sys

import cloudpickle

from anabranch.core.errors import VersionMismatch

_PACKAGE = __name__.partition(".")[0]


def versions(python: int = 2, **engine: object) -> dict[str, str]:
    """The versions of this process.

    Args:
        python: how many parts of Python's version have to agree.
        engine: its name and version.
    """
    return {
        "Python": ".".join(map(str, sys.version_info[:python])),
        _PACKAGE: getattr(sys.modules.get(_PACKAGE), "__version__", "?"),
        "cloudpickle": cloudpickle.__version__,
        **{name: str(version) for name, version in engine.items()},
    }


def compare(engine: str, driver: dict[str, str], worker: dict[str, str], name: str) -> None:
    """Raises VersionMismatch, naming both, when they differ."""
    pairs = [(what, ours, worker.get(what)) for what, ours in driver.items()]
    differ = [f"{what} {ours} here, {theirs} there" for what, ours, theirs in pairs if ours != theirs]
    if differ:
        raise VersionMismatch(f"the driver and the {engine} worker {name} do not fit: {'; '.join(differ)}")
