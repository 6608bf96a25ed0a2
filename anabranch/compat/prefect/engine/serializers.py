"""Prefect 1's `prefect.engine.serializers`."""

from __future__ import annotations

from anabranch.compat.prefect1.targets import JSONSerializer, PickleSerializer

__all__ = ["JSONSerializer", "PickleSerializer"]
