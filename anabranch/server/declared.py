"""How a noun's file declares its routes: method, path, the least role, and a plain function."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from anabranch.core.access import allowed

if TYPE_CHECKING:
    from collections.abc import Callable

Handler = TypeVar("Handler", bound="Callable[..., Any]")
ROLES = "x-roles"  # where a route's roles stand, in the application and in its OpenAPI document
WAKES = "x-wakes"
AUDITED = "x-audited"


@dataclass(frozen=True, slots=True)
class Declared:
    """A route, before it is in an application."""

    method: str
    path: str
    handler: Callable[..., Any]
    options: dict[str, Any]


class Routes:
    """The routes of a noun, below `/api/v1`.

    Args:
        noun: the first part of their paths.
    """

    def __init__(self, noun: str) -> None:
        self.noun = noun
        self.declared: list[Declared] = []

    def add(
        self, method: str, path: str, role: str, *also: str, wakes: bool = False, audited: bool = True,
        **options: Any,
    ) -> Callable[[Handler], Handler]:  # fmt: skip
        """Declare the decorated function as the handler of a route.

        Args:
            role: the least one of people that may call it, `access.OPEN`, or a single other one.
            also: roles that may call it beside those.
            wakes: whether what it does may let an agent claim that waits.
            audited: whether a person's call of it is noted, unless it is a GET.
            options: of FastAPI's `add_api_route`.
        """

        def noted(handler: Handler) -> Handler:
            roles = allowed(role, also)
            extra = {ROLES: list(roles), WAKES: wakes, AUDITED: audited and method != "GET"}
            place = f"/{self.noun}{path}"
            self.declared.append(Declared(method, place, handler, {"openapi_extra": extra, **options}))
            return handler

        return noted
