"""What the key of a run may ask of the record: its own run, what that has called and ordered, runs of its deployment.

The record says which run something is of. What it knows nothing of is of nobody, and there is nothing to read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anabranch.core.access import author_of
from anabranch.core.errors import AccessError
from anabranch.core.runs import FlowRunRow
from anabranch.records.ownership import is_of, line_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anabranch.core.limits import Holder
    from anabranch.records.calls import Method
    from anabranch.records.database import Connection
    from anabranch.records.recorder import Recorder


class RunRights:
    """The rights of one run's key.

    Args:
        run: that the key is of; not "".
    """

    def __init__(self, records: Recorder, run: str) -> None:
        self._database = records.database
        self._run = run

    def asks(self, name: str, method: Method, given: Mapping[str, Any]) -> None:
        """See that a call is about what the key may ask. Raises AccessError."""
        if not method.driver:
            raise AccessError(f"{name} is for people: a run's key reads what is of its run, not all runs")
        if name == "claim" and not self._drives(given["driver"].id):
            raise AccessError(f"this key is not for the run {given['driver'].id}")
        if "holder" in given:
            self._holds(given["holder"])
        if method.of:
            about = given.get(method.of, ())
            self._reads([about] if isinstance(about, str) else about)

    def hears(self, answer: Any) -> Any:
        """Return an answer that the key may read; a run that was asked for by its name is known only now."""
        if isinstance(answer, FlowRunRow):
            self._reads([answer.id])
        return answer

    def _drives(self, id: str) -> bool:
        with self._database.opened() as connection:
            return is_of(self._database, connection, self._run, id)

    def _reads(self, ids: Any) -> None:
        others = [id for id in ids if id != self._run]
        if not others:
            return
        with self._database.opened() as connection:
            for id in others:
                if not self._readable(connection, id):
                    raise AccessError(f"the key of run {self._run} does not read what is of {id}")

    def _readable(self, connection: Connection, id: str) -> bool:
        line = line_of(self._database, connection, id)
        if not line or self._run in line:
            return True
        sql = self._database.sql["fellow_run"]
        about = {"run": self._run, "author": author_of(self._run)}
        return any(connection.execute(sql, {**about, "id": one}).fetchone() for one in line)

    def _holds(self, holder: Holder) -> None:
        """See that a holder of slots is what its leases say: its token is known to its own program alone."""
        with self._database.opened() as connection:
            rows = connection.execute(self._database.sql["processes_of_holder"], (holder.token,)).fetchall()
        if any(tuple(row) != tuple(holder[1:]) for row in rows):
            raise AccessError(f"the key of run {self._run} does not speak for another holder of slots")
