"""A job is handed over to a queue once, also where the answer is lost on the way.

    submit --answer with an id--> started
       |---refused--------------> an error, at once
       '---no answer, or none that is clear
              |  a pause: a job that was handed over late is in the queue by then
              v
           found by its name? --> started
              '--no--> submit once more
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from anabranch.core.errors import LaunchError
from anabranch.core.launching import Reference
from anabranch.launch import script

if TYPE_CHECKING:
    from collections.abc import Callable

    from anabranch.batch.commands import Ran
    from anabranch.core.launching import Job

_PAUSES = (5.0, 20.0, 20.0)  # seconds from a submit without an answer to a look for its job


class Queue(Protocol):
    """Where jobs are handed over.

    Attributes:
        kind: of the launcher.
        queue_name: in sentences.
    """

    kind: str
    queue_name: str

    def render(self, job: Job) -> str: ...

    def submit(self, job: Job) -> Ran:
        """Hand a job over; its script is written."""
        ...

    def id_of(self, out: str) -> str:
        """Return the id in what was printed; "" for none."""
        ...

    def refusal(self, answer: Ran) -> str:
        """Return why a job is not taken, with the way out; "" where it may have been taken all the same."""
        ...

    def find(self, job: Job) -> str:
        """Return the id of a job of this one's name, where it would be handed over; "" where there is none."""
        ...

    def cluster(self) -> str:
        """Return the name of this machine's cluster, which gives jobs their ids; "": not known, or ids tell."""
        ...

    def cancel(self, reference: Reference) -> None: ...


def hand_over(queue: Queue, job: Job, sleep: Callable[[float], None]) -> Reference:
    """Start a job, or find the one that an earlier call started.

    Raises:
        LaunchError: it is refused, or there was no answer; says what to do.
    """
    if (before := script.started(job.folder)) is not None:
        return before
    text = queue.render(job)
    # A script without a reference: an earlier call was ended before it heard the answer.
    cluster = queue.cluster()  # before the job is there: a call that is ended now leaves none
    id = queue.find(job) if (job.folder / script.SCRIPT).exists() else ""
    script.write_script(job, text)
    id = id or _submit(queue, job, sleep)
    reference = Reference(queue.kind, id, job.name, str(job.folder), cluster)
    try:
        script.note(reference, job.folder)
    except OSError as error:
        queue.cancel(reference)
        raise LaunchError(f"job {job.name!r} is cancelled: {job.folder} cannot be written: {error}") from error
    return reference


def _submit(queue: Queue, job: Job, sleep: Callable[[float], None]) -> str:
    for pause in _PAUSES:
        answer = queue.submit(job)
        if answer.code == 0 and (id := queue.id_of(answer.out)):
            return id
        if answer.code != 0 and (why := queue.refusal(answer)):
            raise LaunchError(why)
        sleep(pause)
        if id := queue.find(job):
            return id
    raise LaunchError(
        f"{queue.queue_name} does not answer, and has no job {job.name!r}: {answer.told}. Try again later: "
        "should it have taken the job after all, the job finds that its run has ended, and ends at once"
    )
