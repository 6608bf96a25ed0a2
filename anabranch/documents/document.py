"""The document of a deployment: the same in Python, YAML, JSON, and in the record.

    Document(...) --document()--> dict --read()--> Document      the same again
         '--------row()--------> DeploymentRow --of_row()--'

Its names are those of Prefect 3. `read` also takes the other spellings of `ALIASES`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import TypeAdapter, ValidationError

from anabranch.core import option_checks
from anabranch.core.deployments import DEFAULT, Collision, DeploymentRow, Recover
from anabranch.core.errors import DeploymentError
from anabranch.core.nearest import meant
from anabranch.documents import schedules as schedules_module
from anabranch.documents.parameters import plain
from anabranch.documents.storage import references

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ALIASES = {
    "flow": "flow_name",
    "infra_overrides": "job_variables",
    "job": "job_variables",
    "parameter_openapi_schema": "parameter_schema",
    "pool": "work_pool_name",
    "queue": "work_queue_name",
    "slots": "concurrency_limit",
}
_POOL = {"name": "work_pool_name", "work_queue_name": "work_queue_name", "job_variables": "job_variables"}
_LIMIT = {"limit": "concurrency_limit", "collision_strategy": "collision_strategy"}
_ALWAYS = ("name", "description", "version", "tags", "parameters")  # are in a document whatever they are
_NO_NEW_REVISION = ("paused", "idempotency_key")


@dataclass
class Document:
    """How a flow is run by others than its author.

    Attributes:
        name: of the deployment; with that of the flow unique.
        flow_name: the flow's.
        entrypoint: of the flow: "file.py:flow", from `path`; or "module:flow".
        path: the working folder; within fetched code, the folder in it. None: that of `storage`, or of its agent.
        storage: where the code is fetched from; see `storage.references`. None: it is there.
        parameters: as JSON has them; those of an order go over them.
        parameter_schema: JSON schema of the flow's parameters.
        enforce_parameter_schema: whether an order with other parameters is refused.
        schedules: when runs are ordered: a list of dicts, each with one of cron, interval, rrule and its options;
            with None those that it has stay, with [] it has none any more.
        labels: an agent must have all of them.
        work_pool_name: where its runs wait for an agent; None: "default".
        work_queue_name: of the pool; None: "default".
        job_variables: of the infrastructure, over those of the pool's template.
        concurrency_limit: runs of it at once; None: any number.
        collision_strategy: what becomes of one more: "enqueue", "cancel_new", "cancel_running".
        recover: what becomes of a run when its driver has died: "resume", "restart", "no".
        expire_after: seconds after its time for which a run may wait; None: for ever.
        paused: whether its runs wait until it is resumed.
        idempotency_key: with one, the revision goes up when the key changes, and by nothing else.
        written_for: "prefect": its code imports that, and is to find ours.

    Raises:
        DeploymentError: a value is refused; names the field.
    """

    name: str
    flow_name: str = ""
    entrypoint: str | None = None
    path: str | None = None
    storage: Any = None
    parameters: dict[str, Any] = field(default_factory=dict)
    parameter_schema: dict[str, Any] = field(default_factory=dict)
    enforce_parameter_schema: bool = True
    schedules: Any = None
    description: str | None = None
    version: str | None = None
    tags: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    project: str | None = None
    work_pool_name: str | None = None
    work_queue_name: str | None = None
    job_variables: dict[str, Any] = field(default_factory=dict)
    concurrency_limit: int | None = None
    collision_strategy: Collision = "enqueue"
    recover: Recover = "resume"
    expire_after: float | None = None
    paused: bool = False
    idempotency_key: str | None = None
    written_for: str | None = None

    def __post_init__(self) -> None:
        for name, check in _CHECKS.items():
            try:
                setattr(self, name, check(getattr(self, name)))
            except ValidationError as error:
                told = "; ".join(f"{'.'.join(map(str, one['loc']))} {one['msg']}".strip() for one in error.errors()[:3])
                raise DeploymentError(f"deployment {self.name!r}: {name}: {told}") from None
            except ValueError as error:
                raise DeploymentError(f"deployment {self.name!r}: {name}: {error}") from None

    @property
    def full_name(self) -> str:
        """The name that people type: "flow/deployment"."""
        return f"{self.flow_name}/{self.name}"

    # -- as a dict -------------------------------------------------------------------------------

    def document(self) -> dict[str, Any]:
        """Return it as JSON has it; what is as by default is left out, besides what a reader looks for first."""
        found = {name: getattr(self, name) for name in _ALWAYS}
        pool = {short: getattr(self, name) for short, name in _POOL.items()}
        found["work_pool"] = {short: value for short, value in pool.items() if value is not None}
        found["flow_name"] = self.flow_name
        taken = {*found, *_POOL.values(), *_LIMIT.values()}
        if self.collision_strategy != "enqueue":
            found["concurrency_limit"] = {short: getattr(self, name) for short, name in _LIMIT.items()}
        elif self.concurrency_limit is not None:
            found["concurrency_limit"] = self.concurrency_limit
        for name, default in _DEFAULTS.items():
            if name not in taken and getattr(self, name) != default:
                found[name] = getattr(self, name)
        return json.loads(json.dumps(found))  # type: ignore[no-any-return]  # a copy: its lists are the reader's own

    @classmethod
    def read(cls, given: Mapping[str, Any], place: str = "") -> Self:
        """Return the deployment of a dict.

        Args:
            place: of the dict, for errors: the file's name.

        Raises:
            DeploymentError: there is a key that it does not know, or a value is refused; names the nearest key.
        """
        where = f"{place}: " if place else ""
        named: dict[str, Any] = {}
        for key, value in _flat(given, where):
            name = ALIASES.get(key, key)
            if name in named:
                raise DeploymentError(f"{where}{name!r} is given twice")
            named[name] = value
        unknown = sorted(named.keys() - _KNOWN)
        if unknown:
            raise DeploymentError(f"{where}a deployment has no key {unknown[0]!r}{meant(unknown[0], _SPELLINGS)}")
        if not named.get("name"):
            raise DeploymentError(f"{where}a deployment needs a name")
        try:
            return cls(**{name: value for name, value in named.items() if value is not None})
        except DeploymentError as error:
            raise DeploymentError(f"{where}{error}") from None

    # -- as a row --------------------------------------------------------------------------------

    def content_hash(self) -> str:
        """Return the digest of what makes a new revision."""
        found = {key: value for key, value in self.document().items() if key not in _NO_NEW_REVISION}
        return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()

    def row(self, id: str = "") -> DeploymentRow:
        """Return it as the record has it.

        Raises:
            DeploymentError: it does not say which flow it runs.
        """
        if not self.flow_name:
            raise DeploymentError(f"deployment {self.name!r} has no flow_name: it runs a flow")
        return DeploymentRow(
            id=id,
            flow=self.flow_name,
            name=self.name,
            content_hash=self.content_hash(),
            idempotency_key=self.idempotency_key or "",
            project=self.project or "",
            pool=self.work_pool_name or DEFAULT,
            queue=self.work_queue_name or DEFAULT,
            labels=tuple(self.labels),
            tags=tuple(self.tags),
            slots=self.concurrency_limit,
            collision=self.collision_strategy,
            recover=self.recover,
            expire_after=self.expire_after,
            paused=self.paused,
            document=self.document(),
        )

    @classmethod
    def of_row(cls, row: DeploymentRow) -> Self:
        """Return the deployment of a row of the record."""
        return cls.read(row.document, f"deployment {row.full_name!r}")


# -- reading -------------------------------------------------------------------------------------


def _flat(given: Mapping[str, Any], where: str) -> list[tuple[str, Any]]:
    """Return the pairs of a document with its inner dicts taken apart."""
    found: list[tuple[str, Any]] = []
    for key, value in given.items():
        if key == "work_pool":
            found += _part(value or {}, _POOL, f"{where}work_pool")
        elif ALIASES.get(key, key) == "concurrency_limit" and isinstance(value, dict):
            found += _part(value, _LIMIT, f"{where}concurrency_limit")
        elif key == "schedule":
            found += [] if value is None else [("schedules", [value])]
        else:
            found.append((str(key), value))
    return found


def _part(given: Any, names: dict[str, str], where: str) -> list[tuple[str, Any]]:
    if not isinstance(given, dict):
        raise DeploymentError(f"{where} must have the keys {', '.join(names)}, got {given!r}")
    unknown = sorted(given.keys() - names.keys())
    if unknown:
        raise DeploymentError(f"{where} has no key {unknown[0]!r}{meant(unknown[0], names)}")
    return [(names[key], value) for key, value in given.items() if value is not None]


# -- checks --------------------------------------------------------------------------------------


def _as(kind: Any) -> Callable[[Any], Any]:
    return TypeAdapter(kind).validate_python


def _text(value: Any) -> str | None:
    """Return a text; YAML reads `version: 1.0` as a number."""
    if value is not None and not isinstance(value, str | int | float):
        raise ValueError(f"must be a text, got {value!r}")
    return None if value is None else str(value)


def _name(value: Any) -> str:
    if not isinstance(value, str) or any(letter in value for letter in "/%&><\n"):
        raise ValueError(f"must be a text without any of / % & > <, got {value!r}")
    return value


def _json(value: Any) -> dict[str, Any]:
    found: dict[str, Any] = _as(dict[str, Any])(plain(value if value is not None else {}, "here"))
    return found


def _slots(value: Any) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        raise ValueError(f"must be a whole number of 0 or more, got {value!r}")
    return value


def _collision(value: Any) -> Any:
    return _as(Collision)(str(getattr(value, "value", value)).lower())


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "name": _name,
    "flow_name": _name,
    "entrypoint": _text,
    "path": lambda value: None if value is None else str(value),
    "storage": references.checked,
    "parameters": _json,
    "parameter_schema": _json,
    "enforce_parameter_schema": _as(bool),
    "schedules": schedules_module.checked,
    "description": _text,
    "version": _text,
    "tags": _as(list[str]),
    "labels": _as(list[str]),
    "project": _text,
    "work_pool_name": _text,
    "work_queue_name": _text,
    "job_variables": _json,
    "concurrency_limit": _slots,
    "collision_strategy": _collision,
    "recover": _as(Recover),
    "expire_after": option_checks.seconds,
    "paused": _as(bool),
    "idempotency_key": _text,
    "written_for": _as(Literal["prefect", None]),
}
_KNOWN = {one.name for one in fields(Document)}
_SPELLINGS = (*_KNOWN, *ALIASES, "work_pool", "schedule")
_DEFAULTS = {name: getattr(Document("-"), name) for name in sorted(_KNOWN)}
