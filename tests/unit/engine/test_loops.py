"""The home loop: one for all coroutines of the process, driven by others while a task on it stands still."""

from __future__ import annotations

import asyncio
import contextvars
import os
import random
import subprocess
import sys
import textwrap
import threading
from typing import TYPE_CHECKING, Any

import pytest

from anabranch.core.waiter import Waiter
from anabranch.engine import loops

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 30.0
VAR: contextvars.ContextVar[str] = contextvars.ContextVar("var", default="unset")


def elsewhere(call: Callable[[], Any]) -> Any:
    """What `call` gives, or raises, in a thread that owns no loop."""
    found: list[Any] = []

    def work() -> None:
        try:
            found.append((True, call()))
        except BaseException as error:
            found.append((False, error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(PATIENCE)
    assert found, "it stands still"
    good, value = found.pop()
    if good:
        return value
    raise value


async def here() -> tuple[asyncio.AbstractEventLoop, str]:
    return asyncio.get_running_loop(), VAR.get()


def test_coroutines_of_all_threads_live_on_one_loop() -> None:
    found = {elsewhere(lambda: loops.run(here()))[0] for _ in range(3)}
    assert found == {loops.home().loop}


def test_the_context_goes_along_and_comes_back_untouched() -> None:
    async def change() -> str:
        before = VAR.get()
        VAR.set("changed")
        return before

    def call() -> tuple[str, str]:
        VAR.set("mine")
        return loops.run(change()), VAR.get()

    assert elsewhere(call) == ("mine", "mine")


def test_a_thread_may_have_its_own_loop_unless_one_runs_there() -> None:
    def own() -> set[Any]:
        loops.own_loop()
        return {loops.run(here())[0], loops.run(here())[0]}

    (mine,) = elsewhere(own)
    assert mine is not loops.home().loop

    async def notebook() -> asyncio.AbstractEventLoop:
        loops.own_loop()
        return loops.run(here())[0]  # type: ignore[no-any-return]

    assert elsewhere(lambda: asyncio.run(notebook())) is loops.home().loop


@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt, asyncio.CancelledError])
def test_what_a_coroutine_raises_is_its_callers_and_the_loop_goes_on(kind: type[BaseException]) -> None:
    async def bad() -> None:
        await asyncio.sleep(0)
        raise kind("told")

    with pytest.raises(kind):
        elsewhere(lambda: loops.run(bad()))
    assert elsewhere(lambda: loops.run(here()))[0] is loops.home().loop


def test_a_task_may_stop_the_loop_and_it_goes_on() -> None:
    async def stop() -> int:
        asyncio.get_running_loop().stop()
        await asyncio.sleep(0)
        return 1

    assert elsewhere(lambda: loops.run(stop())) == 1


def test_a_coroutine_is_run_from_one_that_does_not_await_it() -> None:
    async def nested(depth: int) -> list[bool]:
        mine = asyncio.current_task()
        below = loops.run(nested(depth - 1)) if depth else []
        await asyncio.sleep(0)
        return [asyncio.current_task() is mine, *below]

    assert elsewhere(lambda: loops.run(nested(20))) == [True] * 21


def test_a_task_that_stands_still_holds_nobody_up() -> None:
    """The waiter is set by a coroutine of the same loop, begun before the wait."""
    waiter, going = Waiter(), threading.Event()

    async def sets() -> None:
        going.set()
        await asyncio.sleep(0.01)
        waiter.set()

    async def waits() -> bool:
        other = asyncio.ensure_future(sets())
        await asyncio.to_thread(going.wait)
        came = waiter.wait(PATIENCE)
        await other
        return came

    assert elsewhere(lambda: loops.run(waits()))


@pytest.mark.parametrize("seed", range(5))
def test_many_tasks_stand_still_for_each_other_in_any_order(seed: int) -> None:
    """Each waits, blocking, for those after it; in between all of them await."""
    rng = random.Random(seed)
    size = 25
    waiters = [Waiter() for _ in range(size)]
    needed = [rng.sample(range(i + 1, size), min(1, size - i - 1)) for i in range(size)]
    asked = {n for need in needed for n in need}
    threads: set[int] = set()

    async def one(i: int) -> bool:
        threads.add(threading.get_ident())
        for _ in range(rng.randrange(4)):
            await asyncio.sleep(rng.random() / 500)
        mine = asyncio.current_task()
        for n in needed[i]:
            first = waiters[n].wait(PATIENCE)
            waiters[n].set()  # for the next one that wants it
            assert first
            assert asyncio.current_task() is mine
            await asyncio.sleep(0)
        waiters[i].set()
        return True

    async def every() -> list[bool]:
        order = rng.sample(range(size), size)
        return await asyncio.gather(*[one(i) for i in order])

    assert asked
    assert elsewhere(lambda: loops.run(every())) == [True] * size
    assert elsewhere(lambda: loops.run(here()))[0] is loops.home().loop


def test_an_interrupt_of_the_waiting_thread_cancels_the_coroutine(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []
    begun = threading.Event()

    async def long() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            log.append("cancelled")
            raise

    class Interrupted(Waiter):
        """The first wait ends with Ctrl-C."""

        def wait(self, timeout: float | None) -> bool:
            if not log:
                assert begun.wait(PATIENCE)
                log.append("interrupted")
                raise KeyboardInterrupt
            return super().wait(timeout)

    home = loops.home()
    monkeypatch.setattr(loops, "Waiter", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        elsewhere(lambda: home.run(long()))
    assert log == ["interrupted", "cancelled"]


def test_a_fork_has_a_home_loop_of_its_own() -> None:
    elsewhere(lambda: loops.run(here()))
    loops.run(here())
    child = os.fork()
    if not child:
        code = 1
        try:
            one, other = loops.run(here())[0], elsewhere(lambda: loops.run(here()))[0]
            fresh = all(loop not in loops._inherited for loop in (one, other))
            code = 0 if fresh and other is loops.home().loop else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert elsewhere(lambda: loops.run(here()))[0] is loops.home().loop


ENDS = """
    import asyncio, threading
    from anabranch.engine import loops

    async def leaves(kind):
        async def background():
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                if kind == "stubborn":
                    await asyncio.sleep(1000)
                raise
        asyncio.get_running_loop().kept = asyncio.ensure_future(background())
        await asyncio.sleep(0)
        return "left"

    loops.CLOSE_SECONDS = 0.2
    print(loops.run(leaves("KIND"))) if "KIND" != "stubborn" else None
    thread = threading.Thread(target=lambda: print(loops.run(leaves("KIND"))))
    thread.start()
    thread.join()
"""


@pytest.mark.parametrize("kind", ["mild", "stubborn"])
def test_what_is_left_on_a_loop_at_the_programs_end_is_cancelled_without_a_word(kind: str) -> None:
    script = textwrap.dedent(ENDS).replace("KIND", kind)
    ended = subprocess.run([sys.executable, "-X", "dev", "-c", script], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert set(ended.stdout.split()) == {"left"}
