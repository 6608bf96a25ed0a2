"""Keys in the database: their hashes, and the secret that the keys of runs are computed with.

    ab_<8>_<43>              a person's or an agent's: the eight find its row, which has the SHA-256 of the whole
    ab_run_<43>_<token>_<id> of the driver of a run: an HMAC over run and token; no row

Texts are random, of 256 bits, so a plain hash cannot be turned back. Comparisons take the same time for any text.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets as randoms
import sys
from typing import TYPE_CHECKING

from anabranch.core import secrets
from anabranch.core.access import AGENT, DELIVERY, ENDED, ROLES, RUN, RUN_KEY, Access, AuditRow, Key, NewKey, author_of
from anabranch.core.errors import AccessError, ServiceError
from anabranch.core.orders import OrderState
from anabranch.core.service import MOST
from anabranch.records.service.lookups import unknown
from anabranch.records.service.rows import all_made, made

if TYPE_CHECKING:
    from anabranch.records.service.ledger import Ledger

_KEY = re.compile(r"ab_([a-z2-7]{8})_[A-Za-z0-9_-]{43}")
_RUN_KEY = re.compile(RUN_KEY + r"([A-Za-z0-9_-]{43})_(\d{1,18})_(.+)", re.DOTALL)
_COARSE = 60.0  # seconds between two notes of a key's last use
_SIGNING = "runs"  # the name of the secret
_WRONG = "this key is not known: it is misspelt, or of another server"


class DirectKeys:
    """`Keys` in the database."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._secret = b""

    def any(self) -> bool:
        with self._ledger.read() as db:
            return bool(db.execute(self._ledger.sql["good_keys"], (self._ledger.now(),)).fetchone()[0])

    def make(self, name: str, role: str, *, pool: str = "", expires: float | None = None) -> NewKey:
        _check(name, role, pool)
        sql, now = self._ledger.sql, self._ledger.now()
        key = Key(_random_id(), name, role, pool, now, expires)
        text = f"ab_{key.id}_{randoms.token_urlsafe(32)}"
        secrets.note(text)
        with self._ledger.write() as db:
            pools = [row[0] for row in db.execute(sql["pools"])]
            if pool and pool not in pools:
                raise unknown("pool", pool, pools, f"`anabranch pool create {pool}` makes it")
            if db.execute(sql["good_key_names"], (name, now)).fetchone()[0]:
                raise ServiceError(f"there is a key {name!r} already: `anabranch key revoke {name}` ends it")
            db.execute(sql["enter_key"], (key.id, name, _hash(text), role, pool, now, expires))
        return NewKey(key, text)

    def all(self) -> list[Key]:
        with self._ledger.read() as db:
            return all_made(Key, db.execute(self._ledger.sql["keys"]))

    def revoke(self, key: str) -> bool:
        with self._ledger.write() as db:
            given = {"key": key, "now": self._ledger.now()}
            return db.execute(self._ledger.sql["revoke_key"], given).rowcount > 0

    def access(self, text: str) -> Access:
        if found := _RUN_KEY.fullmatch(text):
            return self._of_driver(found[1], int(found[2]), found[3])
        parts = _KEY.fullmatch(text)
        with self._ledger.read() as db:
            row = parts and db.execute(self._ledger.sql["key_by_id"], (parts[1],)).fetchone()
        right = hmac.compare_digest(row[-1] if row else _hash(""), _hash(text))
        if not row or not right:
            raise AccessError(_WRONG)
        key = made(Key, row[:-1])
        now = self._ledger.now()
        if key.revoked is not None:
            raise AccessError(f"the key {key.name!r} was revoked: ask an admin for another")
        if key.expires is not None and key.expires <= now:
            raise AccessError(f"the key {key.name!r} has expired: ask an admin for another")
        self._used(key, now)
        secrets.note(text)
        return Access(key.name, key.role, key.pool)

    def of_run(self, run: str, token: int) -> str:
        return f"{RUN_KEY}{self._signature(run, token)}_{token}_{run}"

    def note(self, who: str, what: str, details: str = "") -> None:
        with self._ledger.write() as db:
            db.execute(self._ledger.sql["note_write"], (self._ledger.now(), who, what, secrets.mask(details)))

    def audit(self, *, before: int | None = None, limit: int = MOST) -> list[AuditRow]:
        with self._ledger.read() as db:
            rows = db.execute(self._ledger.sql["audit"], (sys.maxsize if before is None else before, limit))
            return all_made(AuditRow, rows)

    def _of_driver(self, signature: str, token: int, run: str) -> Access:
        if not hmac.compare_digest(signature, self._signature(run, token)):
            raise AccessError(_WRONG)
        with self._ledger.read() as db:
            found = db.execute(self._ledger.sql["order_of_key"], (run,)).fetchone()
        if found is None:
            raise AccessError(f"the key of run {run} is good no more: the record has no order of the run")
        state, newest, ended = found
        done = state == OrderState.DONE
        if done and ended is not None and self._ledger.now() - ended > DELIVERY:
            raise AccessError(f"the key of run {run} is good no more: the run ended more than a day ago")
        return Access(author_of(run), ENDED if done or token < newest else RUN, run=run, token=token)

    def _signature(self, run: str, token: int) -> str:
        digest = hmac.digest(self._signing(), f"{token}\n{run}".encode("utf-8", "surrogatepass"), "sha256")
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")

    def _signing(self) -> bytes:
        """Return the secret of the record, made at random when it is first asked for; all servers find the same."""
        if not self._secret:
            sql = self._ledger.sql
            with self._ledger.write() as db:
                db.execute(sql["enter_secret"], (_SIGNING, randoms.token_hex(32)))
                self._secret = bytes.fromhex(db.execute(sql["secret"], (_SIGNING,)).fetchone()[0])
        return self._secret

    def _used(self, key: Key, now: float) -> None:
        """Note the use of a key, not each one: a look at keys must not write each time."""
        if key.last_used is None or now - key.last_used > _COARSE:
            with self._ledger.write() as db:
                db.execute(self._ledger.sql["key_used"], (now, key.id))


def _check(name: str, role: str, pool: str) -> None:
    if not name.strip():
        raise ServiceError("a key needs a name: of the person or the program that has it")
    if role not in ROLES:
        raise unknown("role", role, ROLES, f"there are {', '.join(ROLES)}")
    if pool and role != AGENT:
        raise ServiceError(f"a pool is for keys of agents, and this one is to be of a {role}")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _random_id() -> str:
    return base64.b32encode(randoms.token_bytes(5)).decode().lower()
