"""Settings: one frozen value, read at the edges only.

    defaults  <  profile file (TOML)  <  environment (ANABRANCH_*)  <  code

The file is `$ANABRANCH_HOME/config.toml` (`~/.anabranch` unless set); `anabranch config set`
writes it.
"""

from __future__ import annotations

import os
import tempfile
import tomllib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from anabranch.core.errors import ConfigurationError
from anabranch.core.option_checks import parse_bytes


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings that need no change of code."""

    home: Path = Path("~/.anabranch")
    runner: str = "thread"
    records: str = ""  # path of the record, or a PostgreSQL address (postgresql://user@host/db); empty: home/records.db
    records_shared: str = "auto"  # whether the path is on a network file system: auto (look), true, false; node: it is,
    # and this program's own file is to lie on the node's disk, with a copy there
    retention_days: float = 90.0  # runs that ended longer ago are deleted; 0 keeps all
    results: str = ""  # folder or fsspec address (s3://bucket/prefix) of the result store; empty: home/results
    log_level: str = "INFO"
    progress: bool = True  # the live line of maps on a terminal
    memory_budget: int = 0  # bytes of kept values in memory before they spill to disk; 0: a quarter of the memory
    capacity_timeout: float = 300.0  # seconds that runs wait for a worker with the resources they ask for
    shutdown_grace: float = 10.0  # seconds that running items get after Ctrl-C or SIGTERM
    walltime_grace: float = 60.0  # seconds that running items get after SIGUSR1, the sign of a near walltime
    walltime_end: float = 0.0  # Unix seconds at which the allocation ends; 0: not known
    walltime_margin: float = 30.0  # seconds before that end which are left for the record, at most a tenth of the time
    login_node: str = "auto"  # whether this machine ends long programs: auto (look for signs), true or false
    runner_idle: float = 300.0  # seconds after which an unused shared runner is closed
    full_tracebacks: bool = False  # errors show the frames of this package too

    @property
    def records_place(self) -> str | Path:
        """The place of the record: an address as given, or a path."""
        return self.records if "://" in self.records else self.records_path

    @property
    def records_path(self) -> Path:
        """The path of the record on disk, unless `records` is an address."""
        return Path(self.records).expanduser() if self.records else self.home / "records.db"

    @property
    def results_path(self) -> Path:
        return Path(self.results).expanduser() if self.results else self.home / "results"


_NAMES = {f.name: f for f in fields(Settings)}


def parse(name: str, text: Any, where: str) -> Any:
    """Return a setting's value from text; raises ConfigurationError with setting, place and accepted values."""
    if name not in _NAMES:
        raise ConfigurationError(f"{where}: unknown setting {name!r}; known are: {', '.join(sorted(_NAMES))}")
    kind = type(getattr(Settings(), name))
    try:
        if kind is bool:
            words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False,
                     "off": False}  # fmt: skip
            return words[str(text).strip().lower()]
        if kind is Path:
            return Path(str(text)).expanduser()
        value = (parse_bytes(text) or 0) if kind is int else kind(text)
    except (KeyError, ValueError):
        wanted = {bool: "true or false", float: "a number", int: "bytes, as 2000000000 or 2 GiB"}.get(kind, "text")
        raise ConfigurationError(f"{where}: setting {name!r} must be {wanted}, got {text!r}") from None
    if kind is float and value < 0:
        unit = "days" if name.endswith("_days") else "seconds"
        raise ConfigurationError(f"{where}: setting {name!r} must be 0 {unit} or more, got {text!r}")
    if name == "records_shared":
        value = str(value).strip().lower()
        if value not in ("auto", "true", "false", "node"):
            raise ConfigurationError(f"{where}: setting {name!r} must be auto, true, false or node, got {text!r}")
    if name == "login_node":
        value = str(value).strip().lower()
        if value not in ("auto", "true", "false"):
            raise ConfigurationError(f"{where}: setting {name!r} must be auto, true or false, got {text!r}")
    if name == "log_level" and str(value).upper() not in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"):
        levels = "DEBUG, INFO, WARNING, ERROR or CRITICAL"
        raise ConfigurationError(f"{where}: setting {name!r} must be {levels}, got {text!r}")
    return value


_OTHER_HOME = "set ANABRANCH_HOME to a folder that you can write to"


def read_file(path: Path) -> dict[str, Any]:
    """Return the settings in a TOML file, {} when there is none."""
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except NotADirectoryError as error:
        raise ConfigurationError(f"{path.parent} cannot be the home: {error.strerror}; {_OTHER_HOME}") from None
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"cannot read settings from {path}: {error}") from None
    return {name: parse(name, value, str(path)) for name, value in found.items()}


def home_trouble(home: Path) -> str:
    """Make the home folder; returns why it cannot be used, and the remedy, or ""."""
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            return ""
    except OSError as error:
        return f"the home {home} cannot be written: {error.strerror or error}; {_OTHER_HOME}"


def load(environ: dict[str, str] | os._Environ[str] | None = None, **given: Any) -> Settings:
    """Return settings from file and environment, with `given` on top."""
    environ = os.environ if environ is None else environ
    home = Path(environ.get("ANABRANCH_HOME", "~/.anabranch")).expanduser().absolute()  # the working folder may change
    values: dict[str, Any] = {"home": home, **read_file(home / "config.toml")}
    for name in _NAMES:
        variable = f"ANABRANCH_{name.upper()}"
        if environ.get(variable):
            values[name] = parse(name, environ[variable], f"environment variable {variable}")
    return replace(Settings(), **{**values, **given})


def write(path: Path, name: str, text: str | None) -> None:
    """Set (None: unset) one setting in the file at `path`."""
    found = read_file(path)
    if text is None:
        found.pop(name, None)
    else:
        found[name] = parse(name, text, "command line")
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    lines = [f"{key} = {_toml(value)}\n" for key, value in sorted(found.items())]
    path.write_text("".join(lines), encoding="utf-8")


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
