"""Prefect 1's `prefect.run_configs`: where and how a registered flow runs, as a pool's variables."""

from __future__ import annotations

from typing import Any

__all__ = ["DockerRun", "ECSRun", "KubernetesRun", "LocalRun", "RunConfig", "UniversalRun", "VertexRun"]


class RunConfig:
    """Base of the run configurations.

    Args:
        env: environment variables of the run.
        labels: an agent must have all of them.
    """

    def __init__(self, env: dict[str, str] | None = None, labels: Any = None, **given: Any) -> None:
        self.env = dict(env or {})
        self.labels = set(labels or ())
        self._given = {name: value for name, value in given.items() if value is not None}

    def job(self) -> dict[str, Any]:
        """Return it as a deployment's variables."""
        return {**({"env": self.env} if self.env else {}), **self._given}


class UniversalRun(RunConfig):
    """Runs wherever an agent is."""

    def __init__(self, env: dict[str, str] | None = None, labels: Any = None) -> None:
        super().__init__(env, labels)


class LocalRun(RunConfig):
    """Runs as a process of the agent's machine."""

    def __init__(
        self, env: dict[str, str] | None = None, working_dir: str | None = None, labels: Any = None
    ) -> None:
        super().__init__(env, labels, working_dir=working_dir)


class DockerRun(RunConfig):
    """Runs in a container."""

    def __init__(
        self, image: str | None = None, env: dict[str, str] | None = None, labels: Any = None, ports: Any = None,
        host_config: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(env, labels, image=image, ports=ports, host_config=host_config)


class KubernetesRun(RunConfig):
    """Runs as a job of Kubernetes."""

    def __init__(
        self, job_template_path: str | None = None, job_template: Any = None, image: str | None = None,
        env: dict[str, str] | None = None, cpu_limit: Any = None, cpu_request: Any = None,
        memory_limit: str | None = None, memory_request: str | None = None,
        service_account_name: str | None = None, image_pull_secrets: Any = None, labels: Any = None,
        image_pull_policy: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            env, labels, job_template_path=job_template_path, job_template=job_template, image=image,
            cpu_limit=cpu_limit, cpu_request=cpu_request, memory_limit=memory_limit, memory_request=memory_request,
            service_account_name=service_account_name, image_pull_secrets=image_pull_secrets,
            image_pull_policy=image_pull_policy,
        )  # fmt: skip


class ECSRun(RunConfig):
    """Is kept for a pool of agents that know what to do with it."""


class VertexRun(RunConfig):
    """Is kept for a pool of agents that know what to do with it."""
