"""Locks made of files alone: one holder at a time, and a dead holder's lock lapses.

A lock is a folder with one empty file in it. The *name* of the file has the holder and the end of the lock: by the
wall clock for readers on other hosts, and by the monotonic clock for readers on the holder's own host.

- To take a free lock, a ready folder is renamed onto it, which the file system allows only if
  there is none or an empty one.
- To take over a lapsed lock, or to prolong one's own, the file is renamed from the old holder's
  name to the new one's. Each name is used once, so of two processes that saw the same lapsed holder
  exactly one finds the file still there.
- To free a lock, its holder's file is removed; after a take-over it is no longer there.

Rename is atomic on local file systems and on the server of network ones.
"""

from __future__ import annotations

import errno
import math
import os
import secrets
import socket
from contextlib import suppress
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple, Self

from anabranch.core.processes import pid_space

if TYPE_CHECKING:
    from anabranch.core.contracts import Clock

_TRIES = 100
_NEVER = 1e12  # seconds
_TAKEN = {errno.ENOTEMPTY, errno.EEXIST}


class Process(NamedTuple):
    """A process, identified so that a later process with the same id is another."""

    pid: int
    start: int  # clock ticks after boot; 0 where the system does not tell
    host: str  # host, boot and pid namespace

    @property
    def text(self) -> str:
        return f"{self.pid}.{self.start}.{self.host}"


_me: Process | None = None


def this_process() -> Process:
    """Return the running process; a forked child is another."""
    global _me
    pid = os.getpid()
    if _me is None or _me.pid != pid:
        _me = Process(pid, _started(pid) or 0, _host())
    return _me


def is_dead(process: Process) -> bool:
    """Return whether the process has certainly ended; False for one on another host."""
    me = this_process()
    if process.host != me.host:
        return False
    if me.start:
        return _started(process.pid) != process.start
    try:
        os.kill(process.pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def unique_name() -> str:
    """Return a name for an unfinished file; `left_by` reads the writing process from it."""
    return f".new.{this_process().text}.{secrets.token_hex(8)}"


def left_by(name: str) -> Process | None:
    """Return the process that made a `unique_name`; None for any other name."""
    parts = name.split(".")
    if len(parts) != 6 or parts[1] != "new" or not (parts[2].isdigit() and parts[3].isdigit()):
        return None
    return Process(int(parts[2]), int(parts[3]), parts[4])


class Term(NamedTuple):
    """The term of a lock, by both clocks of the host that took it."""

    deadline: float  # Unix seconds
    since: float | None = None  # by the monotonic clock; None in locks of older versions
    until: float | None = None

    @classmethod
    def begin(cls, seconds: float, clock: Clock) -> Self:
        """Return a term of so many seconds from now."""
        since = clock.monotonic()
        return cls(min(clock.time() + seconds, _NEVER), since, min(since + seconds, _NEVER))

    @classmethod
    def read(cls, deadline: float, nonce: str) -> Self:
        """Return the term of a lock from its nonce, which `new_nonce` or an older version made."""
        try:
            _, since, until = nonce.split("_")
            return cls(deadline, int(since) / 1000, int(until) / 1000)
        except ValueError:
            return cls(deadline)

    def new_nonce(self) -> str:
        """Return a random nonce with the ticks at its end, where older versions ignore them."""
        since, until = self.since or 0.0, self.until or 0.0
        return f"{secrets.token_hex(8)}_{math.floor(since * 1000)}_{math.floor(until * 1000)}"

    def over(self, process: Process, clock: Clock) -> bool:
        """Return whether a process's lock of this term is over. Call it after the lock was read.

        The term of a lock on another host is compared with the wall clock. On this host the process must live, and the
        monotonic clock must be within the term. It may be before the term after a restart, where no boot id shows that.
        """
        if process.host != this_process().host or self.since is None or self.until is None:
            return clock.time() >= self.deadline or is_dead(process)
        return is_dead(process) or not self.since <= clock.monotonic() < self.until


class Holder(NamedTuple):
    """The holder of a lock, as its file's name has it."""

    name: str
    owner: str  # hashed
    process: Process
    term: Term

    def lapsed(self, clock: Clock) -> bool:
        return self.term.over(self.process, clock)


def acquire(path: str, owner: str, seconds: float, clock: Clock) -> bool:
    """Take the lock at `path` for so many seconds; its present owner prolongs it.

    Returns:
        False when another owner holds it, or too many try at this moment.

    Raises:
        OSError: the folder cannot be written, or does not exist (FileNotFoundError).
    """
    mine = _holder_name(owner, Term.begin(seconds, clock))
    for _ in range(_TRIES):
        holder = held_by(path)
        if holder is None:
            if _place(path, mine):
                return True
        elif holder.owner != _hashed(owner) and not holder.lapsed(clock):
            return False
        elif _rename(path, holder.name, mine):
            return True
    return False


def free(path: str, owner: str) -> None:
    """Release the lock, if `owner` holds it in this process."""
    holder = held_by(path)
    if holder is None or holder.owner != _hashed(owner) or holder.process != this_process():
        return
    with suppress(FileNotFoundError):
        os.unlink(os.path.join(path, holder.name))
    remove_if_empty(path)


def held_by(path: str) -> Holder | None:
    """Return the holder of the lock at `path`, lapsed or not; None when it is free."""
    try:
        names = os.listdir(path)
    except FileNotFoundError:
        return None
    for name in names:
        holder = _parse(name)
        if holder is not None:
            return holder
    return None


def remove_if_empty(path: str) -> None:
    """Remove a lock's folder unless the lock is held."""
    with suppress(OSError):
        os.rmdir(path)


def _place(path: str, name: str) -> bool:
    ready = os.path.join(os.path.dirname(path), unique_name())
    inside = os.path.join(ready, name)
    os.mkdir(ready, 0o700)
    try:
        os.close(os.open(inside, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        os.rename(ready, path)
    except OSError as error:
        if _present(path, name):  # a network file system may have repeated the request
            return True
        with suppress(FileNotFoundError):
            os.unlink(inside)
        os.rmdir(ready)
        if error.errno in _TAKEN:
            return False
        raise
    return True


def _rename(path: str, old: str, new: str) -> bool:
    try:
        os.rename(os.path.join(path, old), os.path.join(path, new))
    except FileNotFoundError:
        return _present(path, new)  # a network file system may have repeated the request
    return True


def _present(path: str, name: str) -> bool:
    return os.path.exists(os.path.join(path, name))


def _holder_name(owner: str, term: Term) -> str:
    return f"{int(term.deadline * 1000)}.{this_process().text}.{_hashed(owner)}.{term.new_nonce()}"


def _parse(name: str) -> Holder | None:
    parts = name.split(".")
    if len(parts) != 6 or not (parts[1].isdigit() and parts[2].isdigit()):
        return None
    try:
        deadline = int(parts[0]) / 1000
    except ValueError:
        return None
    process = Process(int(parts[1]), int(parts[2]), parts[3])
    return Holder(name, parts[4], process, Term.read(deadline, parts[5]))


def _hashed(text: str) -> str:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def _host() -> str:
    return _hashed(f"{socket.gethostname()}\n{pid_space()}")


def _started(pid: int) -> int | None:
    """Return the start of the process; None when it has ended, or the start is not known."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])
