"""The worker's half of `DaskRunner`: importable wherever anabranch is, run inside Dask's workers.

    run(payload, inputs) -> run_chunk(chunk, DaskPort)
        |                        |- reports, logs --log_event--> topic of the session --> driver
        v                        |- shared(id): sent along, remembered, or asked for (want -> give)
    Blocks: large values, the key's own value: they stay here until the driver drops the key

`note` and `give` come from the driver beside the tasks (`client.run`), on the worker's own loop.
What is remembered is per session (one driver's runner), bounded, and can always be asked for again.
"""

from __future__ import annotations

import pickle
import traceback
from functools import partial
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from anabranch.core import secrets, surroundings
from anabranch.core.asking import told
from anabranch.core.errors import RunnerError, SerializationError
from anabranch.core.script import be_a_worker
from anabranch.runners.dask.blocks import Blocks, Scattered
from anabranch.runners.dask.port import DaskPort
from anabranch.runners.dask.worker_session import end_session, session_of
from anabranch.runners.entry import resolve
from anabranch.runners.process.children import needs_child
from anabranch.runners.transport import versions as transport_versions
from anabranch.runners.transport.value_files import by_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from anabranch.core.chunks import BlockHandle
    from anabranch.runners.transport.payloads import Payload


_around = surroundings.Worker()  # of the driver whose cluster this worker is of


def versions() -> dict[str, str]:
    """What has to agree between driver and workers."""
    import distributed

    return transport_versions.versions(distributed=getattr(distributed, "__version__", "?"))


compare = partial(transport_versions.compare, "Dask")


# -- what the driver calls beside the tasks ------------------------------------------------------------


def note(session: str, chunk: int, keep: int | None, positions: Sequence[int] | None, force: bool = False) -> bool:
    """Start nothing from `keep` on, or (keep None) none of `positions` (None: all); True: it has begun here.

    With `force` a position that runs in a child is stopped.
    """
    mine = session_of(session)
    with mine.lock:
        if keep is not None:
            mine.state.shorten(chunk, keep)
        else:
            mine.state.cancel(chunk, positions)
        seen = chunk in mine.seen
    if mine.children is not None:
        if keep is not None:
            mine.children.shorten(chunk, keep)
        else:
            mine.children.cancel(chunk, positions, force=force)
    return seen


def give(session: str, shared_id: int, value: Payload | Scattered | None) -> None:
    """The driver's answer to a `want`; None: it has no such value."""
    mine = session_of(session)
    with mine.lock:
        mine.given[shared_id] = value
        wait = mine.waits.pop(shared_id, None)
    if wait is not None:
        wait.set()


def answer(session: str, number: int, good: bool, data: bytes) -> None:
    """What the driver says to a request."""
    session_of(session).requests.reply(number, good, data)


def forget(session: str, shared_ids: Iterable[int] | None) -> None:
    """Shared values (None: the whole session) that no later chunk names."""
    if shared_ids is None:
        end_session(session)
        return
    mine = session_of(session)
    with mine.lock:
        for shared_id in shared_ids:
            mine.shared.pop(shared_id, None)
            mine.given.pop(shared_id, None)
    if mine.children is not None:
        mine.children.drop(shared_ids)


def pick(key: str, handle: BlockHandle, slots: Sequence[int], dask_worker: Any = None) -> bytes | None:
    """Some values of a block that lies here; None when it does not."""
    blocks = dask_worker.data.get(key)
    if not isinstance(blocks, Blocks):
        return None
    block = blocks.values.get((handle[1], handle[2]))
    if block is None:
        return None
    return by_value([block[slot] for slot in slots])


def values_only(keys: Sequence[str], dask_scheduler: Any = None) -> None:
    """Make these keys what scattered ones are: lost with their worker, and never computed again behind our back."""
    for key in keys:
        task = dask_scheduler.tasks.get(key)
        if task is not None and task.state == "memory":
            task.run_spec = None


def forget_topic(topic: str, dask_scheduler: Any = None) -> None:
    """On a borrowed scheduler: let go of what it remembers of a session's events."""
    getattr(getattr(dask_scheduler, "_broker", None), "_topics", {}).pop(topic, None)


# -- the task ------------------------------------------------------------------------------------------


def run(
    payload: Payload, inputs: Sequence[Blocks], session: str, entry: str, driver: dict[str, str], pages: str = ""
) -> Blocks | None:
    """Run one chunk; its reports go out as events, the blocks that stay here are what this returns."""
    from distributed import get_worker

    worker = get_worker()
    compare(driver, versions(), worker.address)
    be_a_worker(pickle.loads)
    if pages:
        _around.start_children_as_python_does()
    mine = session_of(session)
    begun = perf_counter_ns()
    try:
        chunk, inline, around = payload.load(writable=True)
        _around.enter(around)
    except BaseException as error:
        text = secrets.mask(f"the arguments do not unpickle on the worker: {told(error)}")
        raise SerializationError(text) from None
    port = DaskPort(mine, session, chunk, inline, inputs, worker, mine.page(pages, worker.address))
    port.reading_ns = perf_counter_ns() - begun
    port.begin()
    try:
        lost = port.unreadable()
        if lost is not None:
            port.stopped(lost, None)
        elif needs_child(chunk, port):
            mine.children_of(worker, entry).run(chunk, port)
        else:
            resolve(entry)(chunk, port)
    except SerializationError:  # the task, or what its items share, does not unpickle here
        raise
    except BaseException as error:  # SystemExit would end the worker
        text = secrets.mask("".join(traceback.format_exception(error)))
        what = secrets.mask(told(error))
        raise RunnerError(f"the worker's run_chunk failed: {what}\n{text[-4000:]}") from None
    finally:
        blocks = port.end()
    return blocks if blocks.values else None


