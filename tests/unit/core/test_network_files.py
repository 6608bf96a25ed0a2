"""Which file systems count as shared by several machines."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from anabranch.core.network_files import locks, shared

if TYPE_CHECKING:
    from pathlib import Path

MOUNTS = """\
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
22 21 0:40 / /nfs rw shared:2 - nfs4 server:/export rw,vers=4.2
23 22 8:2 / /nfs/scratch rw - xfs /dev/nvme0n1 rw
24 21 0:41 / /with\\040blank rw master:1 - lustre mds@tcp:/x rw
25 21 0:42 / /sshfs rw - fuse.sshfs me@host: rw
26 21 0:43 / /upper rw - fuse.fuse-overlayfs fuse-overlayfs rw
27 21 0:44 / /twice rw - nfs server:/a rw
28 21 0:45 / /twice rw - tmpfs tmpfs rw
29 21 0:46 / /wsl rw - 9p drvfs rw
30 21 0:47 / /weka rw - wekafs h/x rw
31 21 0:48 / /gpfs rw - gpfs home rw
32 21 0:49 / /beegfs rw - beegfs beegfs_nodev rw
"""


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("/", False), ("/home/me", False), ("/nfs", True), ("/nfs/home/me/.anabranch", True), ("/nfsother", False),
        ("/nfs/scratch/x", False), ("/with blank/x", True), ("/sshfs/x", True), ("/upper/x", False), ("/twice", False),
        ("/wsl/x", True), ("/weka/x", True), ("/gpfs/x", True), ("/beegfs/x", True),
    ],
)  # fmt: skip
def test_by_the_mount_that_a_folder_is_on(tmp_path: Path, folder: str, expected: bool) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    assert shared(folder, str(mounts)) is expected


def test_where_nobody_tells(tmp_path: Path) -> None:
    assert shared(tmp_path, str(tmp_path / "none")) is False
    assert shared(tmp_path) in (True, False)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (None, True), (errno.ENOSYS, False), (errno.ENOLCK, False), (errno.EOPNOTSUPP, False),
        (errno.EINTR, True),  # says nothing about locks
    ],
)  # fmt: skip
def test_by_the_answer_to_a_lock(tmp_path: Path, error: int | None, expected: bool) -> None:
    def lock(file: object, how: int) -> None:
        if error is not None:
            raise OSError(error, "no")

    assert locks(tmp_path / "not" / "yet", lock) is expected
    assert locks(tmp_path)
    assert list(tmp_path.iterdir()) == []
