"""Prefect's `serve` and `deploy` of several deployments."""

from __future__ import annotations

from typing import Any

from anabranch.compat.prefect.utilities.asyncutils import awaited, either
from anabranch.core.errors import DeploymentError
from anabranch.serving import deploying
from anabranch.serving.serve import serve

__all__ = ["aserve", "deploy", "serve"]
aserve = awaited(serve)


def _deploy(
    *deployments: Any, work_pool_name: str | None = None, image: str | None = None, build: bool = True,
    push: bool = True, print_next_steps_message: bool = True, ignore_warnings: bool = False,
) -> list[str]:  # fmt: skip
    """Deploy several to one pool; returns their ids.

    Raises DeploymentError where an image is to be built: give `build=False`, and one that has the code.
    """
    if image is not None and build:
        raise DeploymentError("anabranch builds no images: give deploy(..., image='registry/name:tag', build=False)")
    for one in deployments:
        one.update(ignore_none=True, work_pool_name=work_pool_name)
        if image is not None:
            one.update(storage={"image": image}, job_variables={"image": image, **one.job_variables})
    return [deploying.apply(one).id for one in deployments]


_deploy.__name__ = _deploy.__qualname__ = "deploy"
deploy = either(_deploy)
