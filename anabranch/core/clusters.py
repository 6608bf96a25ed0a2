"""What a runner connects to, as the runner sees it; the kinds of clusters are rooms of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Cluster(Protocol):
    """A scheduler with workers, started by its constructor or at first need, and ended by `close`.

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


class Demand(NamedTuple):
    """The work that one program has for the workers of a cluster.

    Attributes:
        slots: how many processors the items that are ready or under way could keep busy at once.
        seconds: of work in them, as far as items like them have been seen to end.
        unseen: of the slots, those of tasks of which no item has ended yet.
    """

    slots: float = 0.0
    seconds: float = 0.0
    unseen: float = 0.0


@runtime_checkable
class OnElastic(Protocol):
    """A runner whose cluster may come and go with the work."""

    def ask_for_demand(self, look: Callable[[], Demand]) -> None:
        """Take a function that tells what the dispatcher has for this runner now; it is called from any thread."""
        ...


class ElasticCluster(Cluster, Protocol):
    """A cluster whose workers come and go with the work, in units that its infrastructure gives: jobs, pods.

    Its scheduler has two further doors, which are open to each client that may connect: `DEMAND_DOOR` takes a
    program's demand, and answers why no worker is to be expected; `STATUS_DOOR` takes the verbs below.
    """

    elastic: bool

    def start(self) -> None:
        """Start it, unless it runs."""
        ...

    def scale(self, jobs: int) -> None:
        """Have so many jobs from now on, whatever there is to do; idle ones go first."""
        ...

    def adapt(self, *, minimum: int = 0, maximum: int) -> None:
        """Have as many jobs as the work asks for, between these."""
        ...

    def status(self) -> Mapping[str, Any]:
        """Return what there is: jobs by phase, workers, what was asked for."""
        ...

    def why(self) -> str:
        """Return why it has fewer workers than it wants, in plain words; "" when it has them."""
        ...

    def render(self) -> str:
        """Return what is handed to the infrastructure: the script of one job, manifests; starts nothing."""
        ...


DEMAND_DOOR = "anabranch_demand"  # an operation of the scheduler: a program, and the fields of a Demand
STATUS_DOOR = "anabranch_cluster"  # another one: scale, adapt, status, stop
DEMAND_SECONDS = 2.0  # between a program's words of its demand
DEMAND_HOLDS = 30.0  # seconds; a program that has said nothing for so long has none
