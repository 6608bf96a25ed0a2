"""Prefect 2's `prefect.deployments.deployments`."""

from __future__ import annotations

from anabranch.compat.prefect.deployments import Deployment, run_deployment

__all__ = ["Deployment", "run_deployment"]
