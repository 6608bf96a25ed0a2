"""What a shell offers for arguments that name a deployment, a pool or a queue: names from the record's file."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from click.shell_completion import CompletionItem

from anabranch.core.deployments import DEFAULT

if TYPE_CHECKING:
    import click


def deployments(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return deployments, FLOW/NAME, that begin so. As all here: nothing is written, and nothing fails."""
    return [CompletionItem(name, help=f"pool {pool}") for name, pool in _begun("deployments", incomplete)]


def pools(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return pools that begin so."""
    return [CompletionItem(name, help=kind) for name, kind in _begun("pools", incomplete)]


def queues(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return queues that begin so, of the pool that is named before, or else of the default one."""
    of = ctx.params.get("pool") or DEFAULT
    return [CompletionItem(name, help=f"pool {pool}") for name, pool in _begun("queues", incomplete) if pool == of]


def _begun(kind: str, text: str) -> list[tuple[str, str]]:
    with suppress(Exception):  # a shell has no place for an error
        from anabranch import settings
        from anabranch.records.names import of_service

        chosen = settings.load()
        rows = of_service(kind, chosen.records_place, shared=chosen.records_shared)
        return [row for row in rows if row[0].startswith(text)]
    return []
