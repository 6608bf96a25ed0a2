"""Prefect's artifacts: each becomes a line of the run that makes it, in the log and in the record."""

from __future__ import annotations

import json
import uuid
from typing import Any

from anabranch.compat.prefect.logging.loggers import logger_here
from anabranch.compat.prefect.utilities.asyncutils import awaited, either


def _noted(kind: str, key: str | None, description: str | None, content: str) -> uuid.UUID:
    logger = logger_here("prefect.artifacts")
    told = f" {key!r}" if key else ""
    logger.info("Artifact %s%s%s: %s", kind, told, f" ({description})" if description else "", content)
    return uuid.uuid4()


def _link(
    link: str, link_text: str | None = None, key: str | None = None, description: str | None = None, client: Any = None
) -> uuid.UUID:
    """Note a link."""
    return _noted("link", key, description, f"[{link_text}]({link})" if link_text else link)


def _markdown(markdown: str, key: str | None = None, description: str | None = None) -> uuid.UUID:
    """Note a text."""
    return _noted("markdown", key, description, markdown)


def _table(table: Any, key: str | None = None, description: str | None = None) -> uuid.UUID:
    """Note a table."""
    return _noted("table", key, description, json.dumps(table, default=repr))


def _image(image_url: str, key: str | None = None, description: str | None = None) -> uuid.UUID:
    """Note an image."""
    return _noted("image", key, description, image_url)


def _progress(progress: float, key: str | None = None, description: str | None = None) -> uuid.UUID:
    """Note how far something is, in per cent."""
    return _noted("progress", key, description, f"{progress:g} %")


def _progressed(
    artifact_id: uuid.UUID, progress: float, description: str | None = None, client: Any = None
) -> uuid.UUID:
    """Note how far something is by now."""
    _noted("progress", None, description, f"{progress:g} %")
    return artifact_id


create_link_artifact, acreate_link_artifact = either(_link), awaited(_link)
create_markdown_artifact, acreate_markdown_artifact = either(_markdown), awaited(_markdown)
create_table_artifact, acreate_table_artifact = either(_table), awaited(_table)
create_image_artifact, acreate_image_artifact = either(_image), awaited(_image)
create_progress_artifact, acreate_progress_artifact = either(_progress), awaited(_progress)
update_progress_artifact, aupdate_progress_artifact = either(_progressed), awaited(_progressed)
