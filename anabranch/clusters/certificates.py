"""The certificate of one cluster: only programs that have its key may connect; files of the owner alone."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from anabranch.core.errors import MissingExtraError

if TYPE_CHECKING:
    from pathlib import Path


def paths(folder: Path) -> dict[str, str]:
    return {"ca": str(folder / "ca.pem"), "cert": str(folder / "cert.pem"), "key": str(folder / "key.pem")}


def write(folder: Path) -> dict[str, str]:
    """Make a certificate that signs itself, and write it; returns the paths. Raises MissingExtraError."""
    from distributed import Security

    try:
        made = Security.temporary()  # type: ignore[no-untyped-call]
    except ImportError:
        raise MissingExtraError(
            "an encrypted cluster needs the package cryptography: pip install 'anabranch[hpc]', or security=False on a "
            "network where nobody else is"
        ) from None
    texts = {"ca": made.tls_ca_file, "cert": made.tls_scheduler_cert, "key": made.tls_scheduler_key}
    found = paths(folder)
    for what, path in found.items():
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(texts[what])
    return found


def remove(folder: Path) -> None:
    for path in paths(folder).values():
        with contextlib.suppress(OSError):
            os.unlink(path)
