"""Which of a machine's addresses another machine reaches: all are told, and the one that answers is taken.

A host's name may mean loopback or the slow network, and interfaces are named differently on login and compute nodes. So
a scheduler listens on all of them, its addresses travel together, and a worker tries each.
"""

from __future__ import annotations

import contextlib
import fcntl
import socket
import struct
import time
from typing import TYPE_CHECKING

from anabranch.core.errors import RunnerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

TRY_SECONDS = 3.0  # for one address
_SIOCGIFADDR = 0x8915
_FAST = ("hsn", "ib", "opa", "roce")  # networks between nodes
_LOCAL = ("lo", "docker", "veth", "virbr", "br-", "cni", "tailscale", "tun")


def own_addresses() -> list[str]:
    """Return this machine's IPv4 addresses, those of fast networks first; loopback only where there is no other."""
    found = []
    for _, name in socket.if_nameindex():
        with contextlib.suppress(OSError):  # without an address
            found.append((name, _address(name)))
    return in_order(found)


def in_order(found: Iterable[tuple[str, str]]) -> list[str]:
    """Return the addresses of named interfaces, the likeliest way between nodes first."""

    def rank(one: tuple[str, str]) -> int:
        return 0 if one[0].startswith(_FAST) else 2 if one[0].startswith(_LOCAL) else 1

    ranked = sorted(found, key=rank)
    others = [address for name, address in ranked if rank((name, address)) < 2 and not address.startswith("127.")]
    return list(dict.fromkeys(others)) or ["127.0.0.1"]


def address_of(interface: str) -> str:
    """Return the address of an interface; raises RunnerError where there is none."""
    try:
        return _address(interface)
    except OSError:
        known = ", ".join(name for _, name in socket.if_nameindex())
        raise RunnerError(f"there is no interface {interface!r} with an address here; known are: {known}") from None


def _address(interface: str) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        answer = fcntl.ioctl(asking, _SIOCGIFADDR, struct.pack("256s", interface.encode()[:15]))
    return socket.inet_ntoa(answer[20:24])


def connects(address: str, timeout: float = TRY_SECONDS) -> str:
    """Return the address of this machine from which a scheduler's address is reached; "" when it is not."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout) as there:
            return str(there.getsockname()[0])
    except (OSError, ValueError):
        return ""


def first_reached(
    addresses: Iterable[str],
    seconds: float,
    connect: Callable[[str], str] = connects,
    now: Callable[[], float] = time.monotonic,
    pause: Callable[[float], object] = time.sleep,
) -> tuple[str, str]:
    """Return the first address that answers, and ours on the way to it; ("", "") after so many seconds without one."""
    addresses, end = list(addresses), now() + seconds
    while True:
        for address in addresses:
            if ours := connect(address):
                return address, ours
        if now() >= end:
            return "", ""
        pause(1.0)
