"""What an actor runs now, in a file of its node: read by the driver, or for it, once the actor is dead."""

from __future__ import annotations

import os
import tempfile

from anabranch.runners.placing.status_page import PAGE_BYTES, Running, StatusPage


def new_page() -> tuple[str, StatusPage] | None:
    """A page and the path of its file; None where there is no folder to write to."""
    try:
        fd, path = tempfile.mkstemp(prefix="anabranch-page-", dir=_session_folder())
        try:
            os.ftruncate(fd, PAGE_BYTES)
            return path, StatusPage(fd)
        finally:
            os.close(fd)
    except OSError:
        return None


def take_page(path: str) -> Running | None:
    """What was noted last by an actor that is dead; its file is removed. None: nothing, or not to be found here."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return StatusPage(fd).read()
    finally:
        os.close(fd)
        drop_page(path)


def drop_page(path: str) -> None:
    """Remove the file of an actor that was ended; it may lie on another node, where Ray's session folder keeps it."""
    try:
        os.unlink(path)
    except OSError:
        pass


def _session_folder() -> str | None:
    """Ray's own folder on this node; None (the temporary folder) where this Ray does not tell."""
    import ray

    node = getattr(getattr(ray._private, "worker", None), "_global_node", None)
    find = getattr(node, "get_session_dir_path", None)
    folder = find() if find is not None else None
    return folder if folder and os.access(folder, os.W_OK) else None
