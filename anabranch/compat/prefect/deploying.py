"""`Flow.deploy` with the arguments of Prefect 3."""

from __future__ import annotations

from typing import Any

from anabranch import serving


def deploy(
    self: Any, name: str, work_pool_name: str | None = None, image: Any = None, build: bool = True, push: bool = True,
    **given: Any,
) -> str:  # fmt: skip
    """Deploy the flow; returns the deployment's id.

    Raises DeploymentError where an image is to be built: give `build=False`, and one that has the code.
    """
    building = image is not None and build
    pushing = image is not None and push and build
    found: str = serving.deploy(
        self, name, work_pool_name=work_pool_name, image=image, build=building, push=pushing, **given
    )
    return found
