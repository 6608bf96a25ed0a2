"""The process that holds an elastic cluster: Dask's scheduler, the jobs of its workers, and the loop between the two.

    driver's stdin (or none: a cluster with a name) --end--> all jobs end, the scheduler, this process
    scheduler: workers by job --+                          +--> sbatch, scancel      (queues.py)
    programs: their demand -----+--> Fleet.step, each second --> drain: nothing new, what runs ends, values move
    queue: one look for all ----+    (scaling.py)          +--> trouble: why no worker comes

The queue is looked at only while a job waits or has lost its workers, and never more often than it bears.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import random
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anabranch.batch.silences import is_silence
from anabranch.clusters import certificates, job_spec, named_file, queues
from anabranch.clusters.addresses import address_of, own_addresses
from anabranch.clusters.asking import security_of
from anabranch.clusters.draining import drain, remove
from anabranch.clusters.held import clusters_folder
from anabranch.clusters.holding import hold, listen_for_the_end, tell
from anabranch.clusters.job_spec import JobSpec
from anabranch.clusters.scaling import Crew, Fleet
from anabranch.core.clusters import DEMAND_DOOR, DEMAND_HOLDS, STATUS_DOOR, Demand
from anabranch.core.errors import AnabranchError

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.clusters.queues import Queue
    from anabranch.clusters.scaling import Job, Seen, Step

log = logging.getLogger("anabranch.clusters")

STEP_SECONDS = 1.0
DRAIN_SECONDS = 120.0  # for what runs on a job that is not needed; a walltime that is near leaves less
PLACEHOLDER = "tls://scheduler:0"

# What the dispatcher does is not Dask's to do: it bounds what is queued and sends again what a dead worker had. Nor
# is a worker ended that is silent for minutes: it may compute without letting go of the interpreter.
CONFIG = {
    "distributed.scheduler.worker-saturation": math.inf,
    "distributed.scheduler.allowed-failures": 0,
    "distributed.scheduler.worker-ttl": None,
    "distributed.worker.profile.enabled": False,
    "distributed.admin.low-level-log-length": 100,
}


def main(options: dict[str, Any]) -> None:
    """The holder's process, until its driver or its user ends it."""
    if options.get("render"):
        spec = JobSpec(**{**options["spec"], "logs": f"{options['home']}/{options['name']}/logs"})
        tls = certificates.paths(Path(options["home"]) / options["name"]) if options["secure"] else {}
        queue = queues.make_queue(options["kind"], spec, tls, clusters_folder().parent)
        sys.stdout.write(queue.render(f"{spec.name}-1", [PLACEHOLDER]))
        return
    hold(options, Holder)


class Holder:
    """One elastic cluster; see the module's head."""

    def __init__(self, options: dict[str, Any], clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._options = options
        self._folder = Path(options["folder"])
        logs = self._folder / "logs"
        logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        walltime = 0.0 if options["kind"] == "local" else options["spec"]["walltime"]
        self._spec = JobSpec(**{**options["spec"], "logs": str(logs), "walltime": walltime})
        self._tls = certificates.write(self._folder) if options["secure"] else {}
        self.queue: Queue = queues.make_queue(options["kind"], self._spec, self._tls, clusters_folder().parent)
        self.queue.render(f"{self._spec.name}-0", [PLACEHOLDER])  # what is missing is missed now
        minimum, maximum = options["bounds"]
        self.fleet = Fleet(
            self._spec.name, self._spec.cores, minimum, maximum,
            lambda: job_spec.leaves_after(walltime, random.random()), options["patience"] or math.inf,
            options["idle"],
        )  # fmt: skip
        self._demands: dict[str, tuple[float, Demand]] = {}  # by program
        self._hopeless: dict[str, str] = {}
        self._trouble = ""
        self._addresses: list[str] = []
        self._named = ""  # what the file of its name says
        self._scheduler: Any = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._looking = False
        self._strays = False  # jobs may be there whose submission was not answered
        self._looked = -math.inf
        self._ending = asyncio.Event()

    async def run(self) -> None:
        """Hold the cluster until it is to end."""
        import dask
        import distributed

        security = security_of(self._tls)
        protocol = "tls" if self._tls else "tcp"
        with dask.config.set(CONFIG):
            logging.getLogger("distributed").setLevel(logging.CRITICAL)
            interface = self._spec.interface
            host = f"{protocol}://{address_of(interface) if interface else '0.0.0.0'}"
            self._scheduler = distributed.Scheduler(
                host=host, port=0, protocol=protocol, security=security, dashboard=False,
                dashboard_address="127.0.0.1:0",
            )  # fmt: skip
            async with self._scheduler as scheduler:
                scheduler.handlers[STATUS_DOOR] = self._on_ask
                scheduler.handlers[DEMAND_DOOR] = self._on_demand
                mine = [address_of(interface)] if interface else own_addresses()
                self._addresses = [f"{protocol}://{one}:{scheduler.port}" for one in mine]
                listen_for_the_end(self._ending, detached=bool(self._options.get("detached")))
                try:
                    self._say_up()
                except AnabranchError:  # its name is another's: no job was asked for yet
                    certificates.remove(self._folder)
                    shutil.rmtree(self._folder, ignore_errors=True)
                    raise
                await self._loop()
                await self._end()

    def _say_up(self) -> None:
        words = {"addresses": self._addresses, "tls": self._tls}
        if self._options.get("detached"):
            self._named = named_file.write(Path(self._options["home"]), self._options, words, self._folder)
        tell(self._options["out"], words)

    # -- the loop ----------------------------------------------------------------------------------

    async def _loop(self) -> None:
        while not self._ending.is_set():
            self.turn()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), STEP_SECONDS)

    def turn(self) -> None:
        """Do what is to be done now; commands to the queue run beside it."""
        now = self._clock()
        for step in self.fleet.step(now, self.crews(), self._demand(now)):
            self._begin(self._carry_out(step))
        if self._worth_a_look(now):
            self._begin(self._look())
        self._trouble = self.fleet.trouble(now, self._hopeless)

    async def settled(self) -> None:
        """Wait for the commands that run."""
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=10)

    def _begin(self, coroutine: Any) -> None:
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def crews(self) -> dict[str, Crew]:
        """Return the workers that are connected, by their job."""
        found: dict[str, Crew] = {}
        for worker in self._scheduler.workers.values():
            name = job_spec.job_of(worker.name, self._spec.processes)
            before = found.get(name, Crew(0, False))
            found[name] = Crew(before.workers + 1, before.busy or bool(worker.processing))
        return found

    def _demand(self, now: float) -> list[Demand]:
        self._demands = {who: one for who, one in self._demands.items() if now - one[0] < DEMAND_HOLDS}
        return [demand for _, demand in self._demands.values()]

    async def _carry_out(self, step: Step) -> None:
        job = step.job
        if step.why:
            log.info("job %s (%s): %s", job.name, job.id, step.why)
        try:
            if step.verb == "submit":
                await self._submit(job)
            elif step.verb == "drain":
                await self._drain(job, step.must)
            elif job.id:
                await self.queue.cancel([job.id])
        except AnabranchError as error:
            log.warning("job %s: %s", job.name, error)

    async def _submit(self, job: Job) -> None:
        try:
            id = await self.queue.submit(job.name, self._addresses)
        except Exception as error:
            silent = is_silence(str(error))
            (self.fleet.unheard if silent else self.fleet.refused)(job, str(error), self._clock())
            self._strays = self._strays or silent
            return
        if job.name in self.fleet.jobs:
            self.fleet.submitted(job, id)
        if self._ending.is_set() or job.name not in self.fleet.jobs:  # nobody waits for it any more
            await self.queue.cancel([id])

    async def _drain(self, job: Job, must: bool) -> None:
        """Let what runs on a job's workers end, move their values, and end the job; `must`: its walltime is near."""
        near = job_spec.margin(self._spec.walltime) if self._spec.walltime else DRAIN_SECONDS
        seconds = min(DRAIN_SECONDS, near)
        scheduler = self._scheduler
        mine = [worker for worker in scheduler.workers.values()
                if job_spec.job_of(worker.name, self._spec.processes) == job.name]  # fmt: skip
        try:
            if not await drain(scheduler, mine, seconds, must=must):  # it stays for the sake of its values
                self.fleet.keep(job, self._clock())
                return
        except TimeoutError:
            log.info("job %s: %s still runs an item %.0f s after it was to end", job.id, job.name, seconds)
        await remove(scheduler, mine, "anabranch-left")
        if job.id:
            await self.queue.cancel([job.id])
        self.fleet.gone(job)
        self._drop_log(job)

    def _worth_a_look(self, now: float) -> bool:
        unsure = any(job.id and (job.joined is None or job.alone is not None) for job in self.fleet.jobs.values())
        return (unsure or self._strays) and not self._looking and now - self._looked >= self.queue.look_seconds

    async def _look(self) -> None:
        self._looking, asked = True, self._clock()
        ids = [job.id for job in self.fleet.jobs.values() if job.id]
        try:
            found = await self.queue.look(ids)
        except AnabranchError as error:  # a question that fails is no answer
            log.warning("the queue does not answer: %s", error)
        else:
            self._hopeless = {id: seen.reason for id, seen in found.items() if seen.hopeless}
            self.fleet.looked(self._with_last_lines(found), asked, self._clock())
            await self._end_strays()
        finally:
            self._looking, self._looked = False, self._clock()

    async def _end_strays(self) -> None:
        """End jobs of our name that we know nothing of: their submission was not answered, and others replace them."""
        if self._strays and not any(not job.id for job in self.fleet.jobs.values()):
            ours = [job.id for job in self.fleet.jobs.values()]
            await self.queue.cancel(await self.queue.strays(ours))
            self._strays = False

    def _with_last_lines(self, found: Any) -> dict[str, Seen]:
        """Add the last line of its log to the reason of each job that has ended and never had a worker."""
        told: dict[str, Seen] = dict(found)
        for job in self.fleet.jobs.values():
            seen = told.get(job.id)
            if seen is not None and seen.phase == "ended" and job.joined is None:
                last = _last_line(self.queue.log(job.name, job.id))
                told[job.id] = seen._replace(reason=f"{seen.reason}; {last}" if last else seen.reason)
        return told

    # -- doors -------------------------------------------------------------------------------------

    async def _on_demand(self, who: str = "", slots: float = 0.0, seconds: float = 0.0, unseen: float = 0.0) -> str:
        """Take a program's demand; returns why no worker is to be expected, or ""."""
        self._demands[who] = (self._clock(), Demand(slots, seconds, unseen))
        return self._trouble

    async def _on_ask(self, say: str = "", minimum: int = 0, maximum: int = 0) -> dict[str, Any]:
        if say == "scale":
            self.fleet.want(minimum, maximum)
            self._trouble = ""
        elif say == "stop":
            self._ending.set()
        elif say != "status":
            return {"error": f"a cluster of another version: it does not know {say!r}"}
        return self.status()

    def status(self) -> dict[str, Any]:
        """Return what there is: jobs by phase, workers, what was asked for."""
        fleet, crews = self.fleet, self.crews()
        jobs = [
            {"name": job.name, "id": job.id, "state": job.state, "workers": crews.get(job.name, Crew(0, False)).workers,
             "reason": job.reason}
            for job in fleet.jobs.values()
        ]  # fmt: skip
        return {
            "name": self._spec.name, "kind": self._options["kind"], "addresses": self._addresses, "jobs": jobs,
            "workers": sum(crew.workers for crew in crews.values()), "minimum": fleet.wants.minimum,
            "maximum": fleet.wants.maximum,
            "target": fleet.wants.target, "submitted": fleet.submitted_count, "lost": fleet.lost_count,
            "trouble": self._trouble, "why": self._why(), "logs": self._spec.logs, "pid": os.getpid(),
        }  # fmt: skip

    def _why(self) -> str:
        if self._trouble:
            return self._trouble
        here = sum(job.state == "running" for job in self.fleet.jobs.values())
        if here >= self.fleet.wants.target:
            return ""
        reasons = [job.reason for job in self.fleet.jobs.values() if job.state != "running" and job.reason]
        head = f"{here} of {self.fleet.wants.target} jobs run"
        return f"{head}: {reasons[0] if reasons else self.fleet.last_end or 'the queue has not said why yet'}"

    # -- the end -----------------------------------------------------------------------------------

    async def _end(self) -> None:
        """End all jobs, those too that are being submitted; leave nothing but logs that tell something."""
        await self.settled()
        jobs = [job for job in self.fleet.jobs.values() if job.id]
        with contextlib.suppress(AnabranchError):
            await self.queue.cancel([job.id for job in jobs])
        if self._options.get("detached"):
            named_file.remove(Path(self._options["home"]), self._options["name"], self._named)
        for job in jobs:
            self._drop_log(job)
        certificates.remove(self._folder)
        if not os.listdir(self._spec.logs):
            shutil.rmtree(self._folder, ignore_errors=True)

    def _drop_log(self, job: Job) -> None:
        """Remove the log of a job that ended as it was to: those of the others are what is worth reading."""
        with contextlib.suppress(OSError):
            os.unlink(self.queue.log(job.name, job.id))


def _last_line(log_file: str) -> str:
    try:
        with open(log_file, "rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 4096))
            lines = file.read().decode(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return f"its log ends with {lines[-1][:300]!r}" if lines else ""
