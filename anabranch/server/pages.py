"""Bounds of lists in answers."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from anabranch.core.service import MOST

Limit = Annotated[int, Query(ge=1, le=MOST, description="rows in the answer")]
