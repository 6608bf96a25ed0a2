"""Whether a link to an engine's dashboard leads anywhere from the reader's browser."""

from __future__ import annotations

import importlib.util
import ipaddress
import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

HUB = "JUPYTERHUB_SERVICE_PREFIX"  # where a JupyterHub has this server
FAR = ("SSH_CONNECTION", "SSH_CLIENT")  # the browser is on another machine than the kernel


def link(address: str, environ: Mapping[str, str], *, proxied: bool) -> str:
    """Return a link that a browser can follow, absolute or through Jupyter's proxy; "" where none is known.

    Args:
        address: as the engine has it, or as its settings give it: those may name a proxy ("/proxy/8787/status").
        environ: of the kernel.
        proxied: jupyter-server-proxy is installed.
    """
    if address.startswith("/") and not address.startswith("//"):
        return address
    try:
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return ""
    if parts.scheme not in ("http", "https") or not host:
        return ""
    here = _here(host)
    if HUB in environ:
        if here and proxied and port:
            return f"{environ[HUB].rstrip('/')}/proxy/{port}{parts.path or '/'}"
        return "" if here or _inside(host) else address
    return "" if here and any(environ.get(name) for name in FAR) else address


def link_here(address: str) -> str:
    """Return `link` for this process."""
    return link(address, os.environ, proxied=_found("jupyter_server_proxy"))


def _found(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _here(host: str) -> bool:
    """Return whether a host is the kernel's own machine, by its name alone."""
    if host == "localhost":
        return True
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return False
    return found.is_loopback or found.is_unspecified


def _inside(host: str) -> bool:
    """Return whether a host is one of a network of its own, which browsers outside do not reach."""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return "." not in host or host.endswith((".local", ".svc", ".internal"))
