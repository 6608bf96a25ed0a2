"""Prefect's `prefect.deployments.runner`."""

from __future__ import annotations

from anabranch.serving.deployment import Deployment as RunnerDeployment

__all__ = ["RunnerDeployment"]
