"""The certificate of one cluster: only programs that have its key may connect; files of the owner alone."""

from __future__ import annotations

import contextlib
import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from anabranch.core.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

NAME = "anabranch-cluster"  # of the certificate's subject
VALID_DAYS = 365
PARTS = ("ca", "cert", "key")


def paths(folder: Path) -> dict[str, str]:
    return {what: str(folder / f"{what}.pem") for what in PARTS}


def write(folder: Path) -> dict[str, str]:
    """Make a certificate, and write it; returns the paths. Raises MissingExtraError."""
    certificate, key = new_certificate()
    return place(folder, {"ca": certificate, "cert": certificate, "key": key})  # it vouches for itself


def place(folder: Path, texts: Mapping[str, str]) -> dict[str, str]:
    """Write a certificate's parts into a folder that has none; returns the paths."""
    found = paths(folder)
    for what, path in found.items():
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(texts[what])
    return found


def remove(folder: Path) -> None:
    for path in paths(folder).values():
        with contextlib.suppress(OSError):
            os.unlink(path)


def new_certificate() -> tuple[str, str]:
    """Make a key and a certificate that signs itself, as PEM; raises MissingExtraError without `cryptography`."""
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError:
        raise MissingExtraError(
            "workers elsewhere talk over TLS, which needs the package cryptography: pip install 'anabranch[hpc]'; or "
            "security=False for an elastic cluster, on a network where nobody else is"
        ) from None
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))  # the clocks of nodes differ
        .not_valid_after(now + timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    kept = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made.public_bytes(serialization.Encoding.PEM).decode(), kept.decode()
