"""The wire to a Dask scheduler: a client of our own, its news as actions, and a way down to workers.

    news:  topic of our session, topic "all", key states ---IO loop---> put(action)
    down:  tell(fn, ...) ---IO loop---> client.run on workers, beside their tasks ---> put(answer)

The client is always ours, also where the user lends one: theirs keeps its handlers, its futures
and its settings. Key states are taken from the client's stream handlers, which costs no message;
a `distributed` without them is served by callbacks of the futures.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import pickle
from importlib.util import find_spec
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from anabranch.core.clusters import DEMAND_DOOR
from anabranch.core.errors import MissingExtraError, RunnerError, VersionMismatch
from anabranch.runners.dask import worker as worker_half

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from anabranch.core.clusters import Cluster, Demand

log = logging.getLogger("anabranch.runners")

STARVED = "worker-restart-memory"  # the topic under which a nanny tells that it ends its worker for its memory
QUIET_SECONDS = 2.0  # at most, for the last words of a client
ANSWER_SECONDS = 10.0  # for a worker that joined to say what it is
MISFIT_SECONDS = 60.0  # for a worker that fits, where all that are there do not


def require() -> None:
    """See that Dask is installed, without importing it; raises MissingExtraError."""
    try:
        found = find_spec("distributed") is not None
    except ValueError:
        found = False
    if not found:
        raise MissingExtraError("DaskRunner needs Dask: pip install 'anabranch[dask]'")


class Link:
    """One connection to one scheduler, with an own cluster behind it where `own` is given."""

    _trouble = ""  # why an elastic cluster will have no workers

    def __init__(self, address: str | None, security: Any, own: Cluster | None, put: Callable[[Any], None]) -> None:
        self.own = own
        self._put = put
        self._topic = ""
        self._tasks: set[asyncio.Task[None]] = set()
        self._told: set[asyncio.Task[None]] = set()  # on their way down
        self._callbacks = False
        self._polling = False
        self._comm: Any = None
        self.workers: dict[str, int] = {}  # threads of each
        self.misfits: dict[str, str] = {}  # of these, those that joined later and do not fit the driver: why
        self._alone_since: float | None = None  # when the last one that fits had gone
        try:
            import distributed

            options = {"security": security} if security is not None else {}
            self.client: Any = distributed.Client(  # type: ignore[no-untyped-call]
                own.scheduler_address if own else address, set_as_default=False, timeout="30s", **options
            )
        except BaseException as error:
            if own is not None:
                own.close(timeout=0)
            if isinstance(error, RunnerError) or not isinstance(error, Exception):
                raise
            raise RunnerError(f"cannot connect to the Dask scheduler at {address}: {error}") from error

    # -- start -------------------------------------------------------------------------------------

    def check(self) -> dict[str, int]:
        """Threads of each worker, once all of them are known to fit the driver; raises VersionMismatch."""
        found: dict[str, Any] = self.client.run(worker_half.versions, on_error="return")
        for name, theirs in found.items():
            _fit(name, theirs)
            if isinstance(theirs, BaseException) and not isinstance(theirs, OSError):
                raise RunnerError(f"the Dask worker {name} does not answer: {theirs}") from theirs
        # One that has just died, or just come, is looked at once it is seen again.
        heard = {name for name, theirs in found.items() if not isinstance(theirs, OSError)}
        self.workers = {name: threads for name, threads in self.client.nthreads().items() if name in heard}
        return self.workers

    def resources(self) -> tuple[dict[str, float], dict[str, float]]:
        """(what workers declare, what they have): the most of each resource that one of them does.

        Threads and memory every worker has, declared or not; only what is declared can be reserved.
        """
        declared: dict[str, float] = {}
        most: dict[str, float] = {}
        for worker in self.client.scheduler_info(n_workers=-1)["workers"].values():
            for name, amount in (worker.get("resources") or {}).items():
                declared[name] = max(declared.get(name, 0.0), float(amount))
            for name, had in (("cpus", worker.get("nthreads")), ("memory", worker.get("memory_limit") or math.inf)):
                most[name] = max(most.get(name, 0.0), float(had or 0))
        return declared, {**most, **declared}

    def watch(self, topic: str) -> None:
        """Begin to hear: ("event", bytes), ("starved", what), ("memory"|"erred"|"gone", key, exception)."""
        self._topic = topic
        self._comm = self.client.scheduler_comm
        put = self._put
        self._subscribe()
        handlers = getattr(self.client, "_stream_handlers", {})
        if not {"key-in-memory", "task-erred", "cancelled-keys"} <= handlers.keys():
            self._callbacks = True
            return

        def on(op: str, note: Callable[..., Any]) -> None:
            before = handlers[op]

            def handle(**message: Any) -> Any:
                found = None
                try:
                    found = before(**message)
                except Exception as error:  # it would end the client: so does the error of a worker without our code
                    log.debug("dask: the client did not take %s of %s: %r", op, message.get("key"), error)
                note(**message)
                return found

            handlers[op] = handle

        def erred(key: str = "", exception: Any = None, **_: Any) -> None:
            found = getattr(self.client.futures.get(key), "exception", None)
            put(("erred", key, _error(exception) if found is None else found))

        on("key-in-memory", lambda key="", **_: put(("memory", key, None)))
        on("task-erred", erred)
        on("cancelled-keys", lambda keys=(), reason=None, **_: [put(("gone", key, reason)) for key in keys])
        if "lost-data" in handlers:
            on("lost-data", lambda key="", **_: put(("gone", key, "lost with its worker")))
        on("restart", lambda **_: put(("restart",)))

    @property
    def dashboard(self) -> str:
        """The address of the scheduler's page, as Dask and its settings have it; "" where there is likely none.

        The client gives one for any scheduler. The pages are bokeh's: a scheduler without bokeh has none, and what is
        installed there is mostly installed here.
        """
        try:
            return str(self.client.dashboard_link or "") if find_spec("bokeh") is not None else ""
        except ValueError:
            return ""

    def follow(self, futures: Sequence[Any]) -> None:
        """Where handlers cannot be had: hear of these keys' ends by callbacks."""
        if self._callbacks:
            for future in futures:
                future.add_done_callback(self._on_done)

    def _on_done(self, future: Any) -> None:
        kind = {"finished": "memory", "error": "erred"}.get(future.status, "gone")
        self._put((kind, future.key, future.exception() if kind == "erred" else None))

    # -- workers that are there -----------------------------------------------------------------------

    def poll(self) -> None:
        """Ask which workers there are; puts what has changed as ("worker", joined, address), ("fit", addresses or None)
        where some do not fit, and ("slots", threads of those that do); at the end ("looked",).

        The scheduler tells all of it under the topic "all", but also things that do not pickle (such
        as which worker has copied what), and it cuts off the clients that subscribed to those.
        """
        if not self._polling and self.client.status == "running":
            self._polling = True
            self._begin(self._ask_workers())

    async def _ask_workers(self) -> None:
        try:
            await self._see_workers(await self.client.nthreads())
        except Exception as error:  # it is going, or not yet back
            log.debug("dask: the scheduler did not say who is there: %s", error)
        finally:
            self._polling = False

    async def _see_workers(self, found: dict[str, int]) -> None:
        fresh = sorted(found.keys() - self.workers.keys())
        misfits = {name: why for name, why in self.misfits.items() if name in found}
        if fresh and self.own is None:
            misfits |= await self._look_at(fresh)
        known, self.workers = self.workers, dict(found)
        before, self.misfits = self.misfits, misfits
        fitting = sorted(found.keys() - misfits.keys())
        if fitting or not misfits:
            self._alone_since = None
        elif self._alone_since is None:
            self._alone_since = monotonic()
        for address in found.keys() - known.keys():
            self._put(("worker", True, address))
        for address in known.keys() - found.keys():
            self._put(("worker", False, address))
        if found != known:
            if misfits or before:
                self._put(("fit", fitting if misfits else None))
            self._put(("slots", sum(found[address] for address in fitting)))
        self._put(("looked",))

    async def _look_at(self, fresh: list[str]) -> dict[str, str]:
        """Which of the workers that have joined do not fit the driver, and why: others may bring any."""
        answers: dict[str, Any] = {}
        try:  # one that says nothing may be sent to: nobody is to wait for it
            asked = self.client.run(worker_half.versions, workers=fresh, on_error="return")
            answers = await asyncio.wait_for(asked, ANSWER_SECONDS)
        except Exception as error:
            log.debug("dask: workers that joined did not say what they are: %s", error)
        found = {}
        for name, theirs in answers.items():
            try:
                _fit(name, theirs)
            except VersionMismatch as mismatch:
                log.warning("%s: nothing is sent to it", mismatch)
                found[name] = str(mismatch)
        return found

    @property
    def unfit(self) -> str:
        """Why this cluster is of no use, once only workers that do not fit have been there for a while."""
        if self._alone_since is None or monotonic() - self._alone_since < MISFIT_SECONDS or not self.misfits:
            return ""
        return f"no worker of the Dask cluster fits: {next(iter(self.misfits.values()))}"

    @property
    def cut(self) -> bool:
        """Whether the connection broke and is there again: the scheduler has dropped all that this client had."""
        return self.client.status == "running" and self.client.scheduler_comm is not self._comm

    def mend(self) -> None:
        """Hear again after a cut."""
        self._comm = self.client.scheduler_comm
        self._subscribe()

    def _subscribe(self) -> None:
        self.client.subscribe_topic(self._topic, lambda event: self._put(("event", event[1])))
        self.client.subscribe_topic(STARVED, lambda event: self._put(("starved", event[1])))

    # -- down --------------------------------------------------------------------------------------

    def tell(
        self, fn: Callable[..., Any], *args: Any, workers: list[str] | None = None, answer: tuple[Any, ...] = ()
    ) -> None:
        """Call `fn` on workers (None: all), beside their tasks; put `answer`, and what they said (None: not told)."""

        async def go() -> None:
            found: dict[str, Any] | None = None
            try:
                found = await self.client.run(fn, *args, workers=workers, on_error="ignore")
            except Exception as error:  # a worker that has gone, a scheduler that is going
                log.debug("dask: %s did not reach %s: %s", fn.__name__, workers or "the workers", error)
            if answer:
                self._put((*answer, found))

        self._begin(go(), self._told)

    def tell_scheduler(self, fn: Callable[..., Any], **fields: Any) -> None:
        """Call `fn` on the scheduler; one that does not let clients do this is left alone."""

        async def go() -> None:
            try:
                await self.client.run_on_scheduler(fn, **fields)
            except Exception as error:
                log.debug("dask: %s was not run on the scheduler: %s", fn.__name__, error)

        self._begin(go())

    def tell_demand(self, who: str, demand: Demand) -> None:
        """Tell an elastic cluster what there is to do; it answers why no worker is to be expected, or ""."""

        async def go() -> None:
            try:
                self._trouble = str(await getattr(self.client.scheduler, DEMAND_DOOR)(who=who, **demand._asdict()))
            except Exception as error:  # a scheduler that is going
                log.debug("dask: the cluster did not take the demand: %s", error)

        self._begin(go())

    def after(self, call: Callable[[], None]) -> None:
        """Call once all that was told before has reached its workers."""

        async def later() -> None:
            await asyncio.gather(*self._told)
            call()

        self._begin(later())

    def _begin(self, coroutine: Any, among: set[asyncio.Task[None]] | None = None) -> None:
        kept = self._tasks if among is None else among  # the loop itself holds tasks weakly

        def start() -> None:
            task = asyncio.ensure_future(coroutine)
            kept.add(task)
            task.add_done_callback(kept.discard)

        try:
            self.client.loop.add_callback(start)
        except RuntimeError:  # the loop has ended
            coroutine.close()

    # -- end ---------------------------------------------------------------------------------------

    @property
    def lost(self) -> str:
        """Why there is no scheduler behind this any more; empty while there is one."""
        if self.own is not None and not self.own.alive:
            return "the local Dask cluster has ended"
        if self._trouble:
            return f"the cluster has no workers to give: {self._trouble}"
        status = self.client.status  # "connecting": it tries to come back, for as long as its time-out
        known = status in ("running", "connecting")
        return "" if known else f"the connection to the Dask scheduler was lost ({status})"

    @property
    def answers(self) -> bool:
        """Whether the scheduler is reachable now; closing must not wait for a connection that may come back."""
        return not self.lost and self.client.status == "running"

    def close(self) -> None:
        """Let go of what is ours: our keys, our topic, our client, our cluster. Never raises."""
        with _quiet():
            with contextlib.suppress(Exception):
                if self.answers and self._topic:
                    self.client.unsubscribe_topic(STARVED)
                    self._leave_topic()
            hears = getattr(self.client, "_handle_report_task", None)
            with contextlib.suppress(Exception):
                self.client.close(timeout=5)
            deadline = monotonic() + QUIET_SECONDS
            while hears is not None and not hears.done() and monotonic() < deadline:
                sleep(0.01)  # a client that was connecting again says so when it gives up, which nobody asked for
            if self.own is not None:
                self.own.close()

    def _leave_topic(self) -> None:
        """Let go of our topic, on a borrowed scheduler of its memory of it too.

        Not both: the word that unsubscribes goes another way and may come later, and would make the topic anew.
        """
        if self.own is None:
            with contextlib.suppress(Exception):  # one that runs nothing for its clients
                self.client.run_on_scheduler(worker_half.forget_topic, topic=self._topic)
                return
        self.client.unsubscribe_topic(self._topic)


def _fit(name: str, theirs: Any) -> None:
    """Raises VersionMismatch when this worker, which has said so much of itself, does not fit the driver."""
    # One that cannot load what it is sent answers with the text of its error.
    if isinstance(theirs, ImportError) or str(theirs).startswith(("ModuleNotFoundError(", "ImportError(")):
        raise VersionMismatch(f"the Dask worker {name} lacks a package that the driver has: {theirs}")
    if isinstance(theirs, dict):
        worker_half.compare(worker_half.versions(), theirs, name)


def _error(sent: Any) -> BaseException:
    """What a task's end says of itself, where the client could not read all of it."""
    if isinstance(sent, bytes):
        with contextlib.suppress(Exception):
            sent = pickle.loads(sent)
    return sent if isinstance(sent, BaseException) else RunnerError(f"its error does not unpickle: {sent!r:.200}")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Inside, Dask logs nothing: its user has not asked for the end of this connection."""
    loggers = [logging.getLogger(name) for name in ("distributed", "distributed.client")]  # each has its own level
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
