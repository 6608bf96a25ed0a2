"""Every position of a value in a run, each as a function that puts one there and tells what is seen of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anabranch import as_completed, cache_policies, flow, task, unmapped, wait
from tests.zoo.animals import ZOO

if TYPE_CHECKING:
    from collections.abc import Callable


class Carried(Exception):
    """Carries an object away from where it was raised."""


class Worded(Carried):
    """Says nothing of what it carries."""

    def __str__(self) -> str:
        return "carried away"


class Holder:
    """An object whose methods are tasks."""

    def __init__(self, held: Any) -> None:
        self.held = held

    @task
    def told(self, name: str) -> str:
        return ZOO[name].tell(self.held)


@task
def told(one: Any, name: str) -> str:
    return ZOO[name].tell(one)


@task
def told_inside(parts: Any, name: str) -> str:
    return ZOO[name].tell(parts["k"][0])


@task
def given(one: Any) -> Any:
    return one


@task
def made(name: str) -> Any:
    return ZOO[name].make()


def called(name: str) -> str:
    return told(ZOO[name].make(), name)


def argument(name: str) -> str:
    return told.submit(ZOO[name].make(), name).result()


def keyword(name: str) -> str:
    return told.submit(one=ZOO[name].make(), name=name).result()


def inside(name: str) -> str:
    return told_inside.submit({"k": [ZOO[name].make()]}, name).result()


def mapped(name: str) -> str:
    return _one(told.map([ZOO[name].make(), ZOO[name].make()], name).result())


def constant(name: str) -> str:
    return _one(told.map(unmapped(ZOO[name].make()), [name, name]).result())


def default(name: str) -> str:
    one = ZOO[name].make()

    @task
    def with_default(name: str, one: Any = one) -> str:
        return ZOO[name].tell(one)

    return with_default.submit(name).result()


def closure(name: str) -> str:
    one = ZOO[name].make()

    @task
    def closed() -> str:
        return ZOO[name].tell(one)

    return closed.submit().result()


def self(name: str) -> str:
    return Holder(ZOO[name].make()).told.submit(name).result()


def returned(name: str) -> str:
    return ZOO[name].tell(made.submit(name).result())


def returned_by_map(name: str) -> str:
    return _one([ZOO[name].tell(one) for one in made.map([name, name]).results()])


def passed_on(name: str) -> str:
    return told.submit(given.submit(made.submit(name)), name).result()


def mapped_on(name: str) -> str:
    return _one(told.map(given.map(made.map([name, name])), name).result())


def raised(name: str) -> str:
    @task
    def raises() -> None:
        raise (Carried if ZOO[name].answers else Worded)(ZOO[name].make())

    error = raises.submit().exception()
    assert type(error) in (Carried, Worded), type(error)
    return ZOO[name].tell(error.args[0])


def hooked(name: str) -> str:
    seen: list[Any] = []

    def hook(obj: Any, run: Any, state: Any) -> None:
        seen.append(state.name)

    @task(on_completion=[hook], state_handlers=[lambda obj, old, new: None])
    def watched(one: Any) -> Any:
        return one

    return ZOO[name].tell(watched.submit(ZOO[name].make()).result())


def retried(name: str) -> str:
    @task(retries=1, timeout_seconds=60)
    def again(one: Any, name: str) -> Any:
        from anabranch import context

        if context.task_run().attempt == 1:
            raise ValueError("once")
        return ZOO[name].tell(one), one

    text, one = again.submit(ZOO[name].make(), name).result()
    assert ZOO[name].tell(one) == text
    return text


def cached(name: str) -> str:
    @task(cache_key_fn=lambda context, parameters: f"zoo-{name}")
    def kept() -> Any:
        return ZOO[name].make()

    first = ZOO[name].tell(kept.submit().result())
    state = kept.submit().wait()
    assert state.name == "Cached", state
    return _one([first, ZOO[name].tell(state.result())])


def keyed(name: str) -> str:
    """What is cached by its inputs: what cannot be hashed is computed again."""

    @task(cache_policy=cache_policies.INPUTS, name=f"keyed {name}")
    def by_inputs(one: Any, name: str) -> str:
        return ZOO[name].tell(one)

    return _one([by_inputs.submit(ZOO[name].make(), name).result() for _ in range(2)])


def stored(name: str) -> str:
    @task(persist_result=True)
    def kept() -> Any:
        return ZOO[name].make()

    return ZOO[name].tell(kept.submit().result())


def parameter(name: str) -> str:
    @flow
    def inner(one: Any) -> str:
        return told.submit(one, name)

    return inner(ZOO[name].make())


def flow_value(name: str) -> str:
    @flow
    def inner() -> Any:
        return made.submit(name)

    return ZOO[name].tell(inner())


def awaited(name: str) -> str:
    @task
    async def later(one: Any, name: str) -> tuple[str, Any]:
        return ZOO[name].tell(one), one

    text, one = later.submit(ZOO[name].make(), name).result()
    return _one([text, ZOO[name].tell(one)])


def nested(name: str) -> str:
    """A submit of a task's own, wherever that runs."""

    @task
    def outer(name: str) -> str:
        return told.submit(given.submit(ZOO[name].make()), name).result()

    return outer.submit(name).result()


def reduced(name: str) -> str:
    return ZOO[name].tell(made.map([name, name]).reduce(lambda one, other: other).result())


def waited(name: str) -> str:
    done, not_done = wait([made.submit(name)])
    assert not not_done
    (future,) = as_completed(done)
    return ZOO[name].tell(future.wait().result())


def called_value(name: str) -> str:
    return ZOO[name].tell(made(name))


def _one(texts: list[str]) -> str:
    """What all of them say."""
    assert len(set(texts)) == 1, texts
    return texts[0]


# Positions in which an object stays in its process, on every runner.
HERE: dict[str, Callable[[str], str]] = {one.__name__: one for one in (called, called_value)}
POSITIONS: dict[str, Callable[[str], str]] = HERE | {
    one.__name__: one
    for one in (
        argument, keyword, inside, mapped, constant, default, closure, self, returned, returned_by_map, passed_on,
        mapped_on, raised, hooked, retried, cached, keyed, stored, parameter, flow_value, awaited, nested, reduced,
        waited,
    )
}  # fmt: skip
PACKED = frozenset({"cached", "stored"})  # leaves the process on every runner: it goes to a file
