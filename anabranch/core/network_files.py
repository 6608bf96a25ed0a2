"""The tests whether a folder lies on a file system that several machines may share, and whether locks work there."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import tempfile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_SHARED = {
    "9p", "afs", "beegfs", "ceph", "cifs", "fhgfs", "gfs2", "glusterfs", "gpfs", "lustre", "nfs", "nfs4", "ocfs2",
    "orangefs", "panfs", "pvfs2", "smb2", "smb3", "smbfs", "virtiofs", "wekafs",
}  # fmt: skip
# FUSE file systems of these kinds are this machine's own.
_OWN_FUSE = {"fuse.fuse-overlayfs", "fuse.gocryptfs", "fuse.encfs", "fuse.portal", "fuse.lxcfs"}

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}


def shared(folder: str | os.PathLike[str], mounts: str = "/proc/self/mountinfo") -> bool:
    """Return whether `folder`, or its future place, is on a network file system; False where that is not known."""
    found = kind(folder, mounts)
    return found in _SHARED or (found.startswith("fuse.") and found not in _OWN_FUSE)


def kind(folder: str | os.PathLike[str], mounts: str = "/proc/self/mountinfo") -> str:
    """Return the kind of file system that `folder`, or its future place, is on; "" where that is not known."""
    try:
        with open(mounts, encoding="utf-8", errors="surrogateescape") as file:
            kinds = dict(map(_mount, file))  # a later mount in one place covers an earlier one
    except OSError:
        return ""
    place = os.path.realpath(folder)
    while place not in kinds and place != os.path.dirname(place):
        place = os.path.dirname(place)
    return kinds.get(place, "")


def locks(folder: str | os.PathLike[str], lock: Callable[[Any, int], object] = fcntl.lockf) -> bool:
    """Return whether files in `folder`, or its future place, can be locked; True where that is not known.

    Lustre that is mounted without `flock`, and some other parallel file systems, refuse all locks.
    """
    place = os.path.realpath(folder)
    while not os.path.isdir(place):
        place = os.path.dirname(place)
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in _NO_LOCKS
    return True


def _mount(line: str) -> tuple[str, str]:
    """Return the mount point of a file system, and its kind."""
    left, _, right = line.partition(" - ")
    place = re.sub(r"\\(\d{3})", lambda found: chr(int(found[1], 8)), left.split(" ")[4])
    return place, right.split(" ")[0]
