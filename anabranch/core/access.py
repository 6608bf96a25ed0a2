"""Roles and keys: what a request may do once its key is known.

    viewer < operator < editor < admin        people and their programs
    agent                                     of one pool, or of all
    run                                       the driver of one run
    ended run                                 that driver when the run has ended, or has another driver
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

VIEWER, OPERATOR, EDITOR, ADMIN, AGENT, RUN = "viewer", "operator", "editor", "admin", "agent", "run"
ENDED = "ended run"
PEOPLE = (VIEWER, OPERATOR, EDITOR, ADMIN)  # each may do what those before it may
ROLES = (*PEOPLE, AGENT)  # of keys that are made; a run's key is computed
OPEN = "open"  # a route that needs no key
RUN_KEY = "ab_run_"  # how the text of a run's key begins
DELIVERY = 86_400.0  # seconds after a run's end for which its key still delivers its last rows


@dataclass(slots=True)
class Key:
    """A key as it is listed: the key itself is kept by nobody.

    Attributes:
        id: the part of the key that tells it from others.
        pool: the only one that an agent's key serves; "": all.
        expires, last_used, revoked: Unix seconds; None: never, or not.
    """

    id: str
    name: str
    role: str
    pool: str = ""
    created: float = 0.0
    expires: float | None = None
    last_used: float | None = None
    revoked: float | None = None


@dataclass(slots=True)
class NewKey:
    """A key that was just made, with its text: the one time that it is shown."""

    key: Key
    text: str


@dataclass(slots=True)
class AuditRow:
    """A write that somebody made through a server."""

    id: int
    at: float
    who: str
    what: str
    details: str = ""


@dataclass(frozen=True, slots=True)
class Access:
    """What a request may do.

    Attributes:
        name: for people, as the author of what it does; "" where no key is asked for.
        role: "admin" where no key is asked for.
        pool: the only one of an agent's key; "": all.
        run, token: of a run's key.
    """

    name: str = ""
    role: str = ADMIN
    pool: str = ""
    run: str = ""
    token: int = 0


class KeyRing(Protocol):
    """The keys of a service, as an admin sees them."""

    def make(self, name: str, role: str, *, pool: str = "", expires: float | None = None) -> NewKey:
        """Make a key.

        Args:
            role: one of `ROLES`.
            pool: the only one that an agent's key is to serve; "": all.
            expires: Unix seconds; None: never.

        Raises:
            ServiceError: there is no such role or pool, or a good key has that name.
        """
        ...

    def all(self) -> list[Key]:
        """Return all keys, newest first, with those that are good no more."""
        ...

    def revoke(self, key: str) -> bool:
        """End the key of this id or name; False where there is none that is good."""
        ...

    def audit(self, *, before: int | None = None, limit: int = 200) -> list[AuditRow]:
        """Return the writes that were made through servers, newest first, from the one before `before` (an id) on."""
        ...


class Keys(KeyRing, Protocol):
    """The keys of a service, as a server needs them."""

    def any(self) -> bool:
        """Return whether there is a key that is good now."""
        ...

    def access(self, text: str) -> Access:
        """Return what a key may do. Raises AccessError: it is unknown, expired or revoked."""
        ...

    def of_run(self, run: str, token: int) -> str:
        """Return the key of a run's driver; the same each time."""
        ...

    def note(self, who: str, what: str, details: str = "") -> None:
        """Note a write for the audit."""
        ...


def author_of(run: str) -> str:
    """Return the name under which a run's key orders runs."""
    return f"run {run}"


def is_of_run(key: str) -> bool:
    """Return whether a key is that of a run's driver."""
    return key.startswith(RUN_KEY)


def allowed(least: str, also: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return the roles that may do what asks for at least this one of `PEOPLE`, or for one of `also`."""
    people = PEOPLE[PEOPLE.index(least) :] if least in PEOPLE else (least,)
    return (*people, *also)
