"""Errors that only a server has; `problems` makes answers of them."""

from __future__ import annotations

from anabranch.core.errors import AccessError, ServiceError


class Forbidden(AccessError):
    """Raised where a key is good, and may not do what is asked."""


class NotFound(ServiceError):
    """Raised where a route is asked for something that is not there."""


class Busy(ServiceError):
    """Raised where a server has too much to do, and for a client that has used too many wrong keys."""
