"""Flows from elsewhere: their code is fetched, loaded, and deployed with the reference to it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from anabranch import session as sessions
from anabranch.core.errors import DeploymentError
from anabranch.documents.document import Document
from anabranch.documents.storage import references
from anabranch.documents.storage.fetch import CACHE, fetch
from anabranch.entrypoints.flow import flow_of
from anabranch.serving import described

if TYPE_CHECKING:
    from collections.abc import MutableMapping

# By flow: entrypoint and storage, as its deployments have them.
_known: MutableMapping[Any, dict[str, Any]] = WeakKeyDictionary()


def from_source(source: Any, entrypoint: str) -> Any:
    """Return a flow from elsewhere, see `Flow.from_source`."""
    given = source.reference() if hasattr(source, "reference") else source
    try:
        reference = references.checked(given)
    except ValueError as error:
        raise DeploymentError(f"source: {error}") from None
    if reference is None or not entrypoint:
        raise DeploymentError("from_source takes a source (a git url, a folder) and entrypoint='file.py:flow'")
    if "path" in reference:
        reference = {"path": str(Path(reference["path"]).expanduser().resolve())}
    code = fetch(reference, sessions.current().settings.home / CACHE)
    flow = flow_of(entrypoint if code.folder is None else os.path.join(code.folder, entrypoint))
    _known[flow] = {"entrypoint": entrypoint, "storage": reference}
    return flow


def completed(document: Document) -> Document:
    """Return a document with what its flow says of itself, where it leaves out the flow's name or parameters.

    Raises:
        FetchError, EntrypointError, LoadError: the code is not there, or does not load.
    """
    if not document.entrypoint or (document.flow_name and document.parameter_schema):
        return document
    code = fetch(document.storage, sessions.current().settings.home / CACHE, path=document.path)
    flow = flow_of(document.entrypoint if code.folder is None else os.path.join(code.folder, document.entrypoint))
    said = described.of_flow(flow, entrypoint=document.entrypoint)
    return Document.read({**said, **{name: value for name, value in document.document().items() if value}})


def source_of(flow: Any) -> dict[str, Any]:
    """Return entrypoint and storage of a flow that came from elsewhere; {} of another."""
    return dict(_known.get(flow, {}))
