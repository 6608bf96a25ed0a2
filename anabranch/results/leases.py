"""Locks made of objects that can only be created, read and removed: one holder at a time.

    key.lock  (nonce x0) ----> key.lock.x0  (nonce x1) ----> key.lock.x1  (nonce x2)
      lapsed                     lapsed                        the holder

An object names the holder of the lock and its end. The first object is created only if there is none. To take a lapsed
lock over, or to prolong one's own, a process creates the successor, which is named after the nonce of the object
before it: of several processes that saw the same lapsed holder, one succeeds. A holder frees the lock by removing the
first object, which makes the rest unreachable. So the creator of a successor checks that the chain from the first
object still leads to it. No objects are listed, and none is changed in place.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

import msgpack

from anabranch.results.locks import Process, Term, this_process

if TYPE_CHECKING:
    from anabranch.core.contracts import Clock
    from anabranch.results.remote_files import RemoteFiles

_NEVER = 1e12  # seconds
_LARGEST = 4096  # bytes of a lock's object


class Lease(NamedTuple):
    """One link of the chain."""

    name: str
    owner: str  # hashed
    process: Process
    term: Term
    nonce: str

    def lapsed(self, clock: Clock) -> bool:
        return self.term.over(self.process, clock)


def acquire(files: RemoteFiles, name: str, owner: str, seconds: float, clock: Clock) -> bool:
    """Take the lock for so many seconds; its present owner prolongs it. Raises StoreError."""
    term = Term.begin(seconds, clock)
    nonce = term.new_nonce()
    mine = _hashed(owner)
    data = msgpack.packb([mine, list(this_process()), term.deadline, nonce])
    if files.create(name, data):
        return True
    chain = _chain(files, name)
    if not chain:
        return bool(files.create(name, data))  # the lock was freed in between
    last = chain[-1]
    if last.nonce == nonce:  # our own request: its answer was lost, and it was repeated
        return True
    if last.owner != mine and not last.lapsed(clock):
        return False
    successor = f"{name}.{last.nonce}"
    if not files.create(successor, data) and not _is(files, successor, nonce):
        return False
    if nonce in (link.nonce for link in _chain(files, name)):
        return True
    files.remove(successor)
    return False


def free(files: RemoteFiles, name: str, owner: str, clock: Clock) -> None:
    """Release the lock, if `owner` holds it in this process. A lapsed lock is left to the next taker."""
    chain = _chain(files, name)
    last = chain[-1] if chain else None
    if last is not None and last.owner == _hashed(owner) and last.process == this_process() and not last.lapsed(clock):
        for link in chain:
            files.remove(link.name)


def _chain(files: RemoteFiles, name: str) -> list[Lease]:
    """Return all links; the last one is the holder, or the last holder."""
    chain: list[Lease] = []
    link = _read(files, name)
    while link is not None and link not in chain:  # a damaged chain might be a circle
        chain.append(link)
        link = _read(files, f"{name}.{link.nonce}")
    return chain


def _is(files: RemoteFiles, name: str, nonce: str) -> bool:
    link = _read(files, name)
    return link is not None and link.nonce == nonce


def _read(files: RemoteFiles, name: str) -> Lease | None:
    data = files.get(name, 0, _LARGEST)
    if data is None:
        return None
    try:
        owner, process, deadline, nonce = msgpack.unpackb(data)
        return Lease(name, owner, Process(*process), Term.read(deadline, nonce), nonce)
    except Exception:  # a foreign object, or one that is being written: the lock counts as held until it is removed
        return Lease(name, "", Process(0, 0, ""), Term(_NEVER), "damaged")


def _hashed(text: str) -> str:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()
