"""What a runner connects to, as the runner sees it; the kinds of clusters are rooms of their own."""

from __future__ import annotations

from typing import Protocol


class Cluster(Protocol):
    """A scheduler with workers, started by its constructor and ended by `close`.

    A runner that made its cluster closes it. A cluster that the user made and lends stays the user's.
    """

    pages: str  # the folder of this machine in which workers note what they run; "" where they live elsewhere

    @property
    def scheduler_address(self) -> str:
        """Where the scheduler listens, once it is up; raises RunnerError when it does not come up in time."""
        ...

    @property
    def alive(self) -> bool:
        """Whether the cluster is still there."""
        ...

    def close(self, timeout: float = 10.0) -> None:
        """End what was started; what is left after `timeout` seconds is killed. Idempotent."""
        ...
