"""Settings: one frozen value, read at the edges only.

    defaults  <  file (TOML)  <  its chosen profile  <  environment (ANABRANCH_*)  <  code

The file is `$ANABRANCH_HOME/config.toml` (`~/.anabranch` unless set); `anabranch config set` and `anabranch profile`
write it. A profile is a named set of settings in it, chosen by ANABRANCH_PROFILE or by `anabranch profile use`.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import tomllib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from anabranch.core import secrets
from anabranch.core.errors import ConfigurationError
from anabranch.core.nearest import hint
from anabranch.core.option_checks import parse_bytes


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings that need no change of code."""

    home: Path = Path("~/.anabranch")
    runner: str = "thread"
    records: str = ""  # path of the record, or an address: of PostgreSQL (postgresql://user@host/db), or of an
    # anabranch server (https://host); empty: home/records.db
    api_key: str = ""  # the key for that server; `anabranch login` asks for it
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
    profile: str = ""  # the named set of settings in the file that counts over its other ones

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
        raise ConfigurationError(f"{where}: unknown setting {name!r}; {hint(name, sorted(_NAMES))}")
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
    if kind is float and not value >= 0:  # nan is neither
        unit = "days" if name.endswith("_days") else "seconds"
        raise ConfigurationError(f"{where}: setting {name!r} must be 0 {unit} or more, got {text!r}")
    if name == "api_key":
        secrets.note(str(value))
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


class Stored(NamedTuple):
    """What a file of settings holds: those that count for all, and named sets of which one is chosen."""

    values: dict[str, Any]
    profiles: dict[str, dict[str, Any]]

    def of(self, profile: str, where: str) -> dict[str, Any]:
        """Return the settings of a profile, {} for none; raises ConfigurationError, which lists the known ones."""
        if not profile:
            return {}
        if profile not in self.profiles:
            known = f"known are: {', '.join(sorted(self.profiles))}" if self.profiles else "there are none"
            raise ConfigurationError(
                f"{where}: no profile {profile!r}, {known}; `anabranch profile create {profile}` makes it"
            )
        return self.profiles[profile]


def read_file(path: Path) -> Stored:
    """Return what a TOML file of settings holds, nothing when there is none."""
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Stored({}, {})
    except NotADirectoryError as error:
        raise ConfigurationError(f"{path.parent} cannot be the home: {error.strerror}; {_OTHER_HOME}") from None
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"cannot read settings from {path}: {error}") from None
    sets = found.pop("profiles", {})
    if not isinstance(sets, dict) or not all(isinstance(one, dict) for one in sets.values()):
        raise ConfigurationError(f"{path}: profiles must be tables, such as [profiles.cluster]")
    values = {name: parse(name, value, str(path)) for name, value in found.items()}
    return Stored(values, {name: _profile(name, one, str(path)) for name, one in sets.items()})


def _profile(name: str, found: dict[str, Any], where: str) -> dict[str, Any]:
    """Return the settings of a profile; raises ConfigurationError for a name or a setting that it cannot have."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,50}", name):
        raise ConfigurationError(f"{where}: a profile's name must be letters, digits, '-' and '_', got {name!r}")
    for setting in ("home", "profile"):
        if setting in found:
            raise ConfigurationError(f"{where}: profile {name!r} cannot set {setting!r}: it says where profiles are")
    return {setting: parse(setting, value, f"{where}, profile {name!r}") for setting, value in found.items()}


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
    stored = read_file(home / "config.toml")
    values: dict[str, Any] = {"home": home, **stored.values}
    for name in _NAMES:
        variable = f"ANABRANCH_{name.upper()}"
        if environ.get(variable):
            values[name] = parse(name, environ[variable], f"environment variable {variable}")
    chosen = stored.of(values.get("profile", ""), chosen_by(environ, home / "config.toml"))
    values |= {name: value for name, value in chosen.items() if not environ.get(f"ANABRANCH_{name.upper()}")}
    return replace(Settings(), **{**values, **given})


def chosen_by(environ: dict[str, str] | os._Environ[str], path: Path) -> str:
    """Return in words what chooses the profile."""
    return "environment variable ANABRANCH_PROFILE" if environ.get("ANABRANCH_PROFILE") else str(path)


def write(path: Path, name: str, text: str | None, profile: str = "") -> None:
    """Set (None: unset) one setting in the file at `path`, or in one of its profiles.

    Raises:
        ConfigurationError: there is no such setting or profile, or the value is bad.
    """
    stored = read_file(path)
    chosen = stored.of(profile, str(path)) if profile else stored.values
    if text is None:
        chosen.pop(name, None)
    else:
        chosen[name] = parse(name, text, "command line")
        if profile:
            _profile(profile, chosen, "command line")
        elif name == "profile":
            stored.of(chosen[name], "command line")
    save(path, stored)


def make_profile(path: Path, name: str, given: dict[str, str]) -> None:
    """Add a profile to the file at `path`. Raises ConfigurationError where there is one, or a setting is bad."""
    stored = read_file(path)
    if name in stored.profiles:
        raise ConfigurationError(
            f"there is a profile {name!r} already; `anabranch config set --profile {name} NAME VALUE` changes it"
        )
    stored.profiles[name] = _profile(name, dict(given), "command line")
    save(path, stored)


def drop_profile(path: Path, name: str) -> None:
    """Delete a profile of the file at `path`; none is chosen there then. Raises ConfigurationError for no such one."""
    stored = read_file(path)
    stored.of(name, str(path))
    del stored.profiles[name]
    if stored.values.get("profile") == name:
        del stored.values["profile"]
    save(path, stored)


def save(path: Path, stored: Stored) -> None:
    """Write a file of settings (mode 0600), in one step: addresses in it may have logins.

    Raises:
        ConfigurationError: it cannot be written; what was there stays.
    """
    lines = [f"{key} = {_toml(value)}\n" for key, value in sorted(stored.values.items())]
    for name, values in sorted(stored.profiles.items()):
        lines.append(f"\n[profiles.{name}]\n")
        lines += [f"{key} = {_toml(value)}\n" for key, value in sorted(values.items())]
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        text = "".join(lines).encode()
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(text)
        os.replace(draft, path)
    except UnicodeEncodeError as error:
        bad = error.object[error.start : error.end]
        raise ConfigurationError(f"cannot write settings to {path}: {bad!a} in a value is not text") from None
    except OSError as error:
        raise ConfigurationError(f"cannot write settings to {path}: {error.strerror or error}; {_OTHER_HOME}") from None


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")  # TOML has JSON's escapes
