from __future__ import annotations

import functools
import math
from typing import Any

import pytest

from anabranch.core.errors import OptionError, ParameterBindError
from anabranch.core.params import Binder


def add(x: int, y: int = 1) -> int:
    return x + y


def everything(a: int, /, b: int, *rest: int, c: int, d: int = 4, **more: int) -> None: ...


class Callable:
    def __call__(self, x: int) -> int:
        return x

    def method(self, x: int, y: int = 2) -> int:
        return x + y


def test_positions_come_back_as_they_are() -> None:
    args: tuple[Any, ...] = (1, 2)
    kwargs: dict[str, Any] = {}
    bound = Binder(add).bind(args, kwargs)
    assert bound[0] is args
    assert bound[1] is kwargs


def test_keywords_stay_keywords() -> None:
    assert Binder(add).bind((1,), {"y": 5}) == ((1,), {"y": 5})


@pytest.mark.parametrize(
    ("args", "kwargs", "fault"),
    [
        ((), {}, "missing 'x'"),
        ((1, 2, 3), {}, "takes at most 2 positional arguments, got 3"),
        ((1,), {"x": 2}, "multiple values for argument 'x'"),
        ((1,), {"yy": 2}, r"unexpected argument 'yy' \(did you mean 'y'\?\)"),
        ((1,), {"zebra": 2}, "unexpected argument 'zebra';"),
    ],
)
def test_faults_are_named(args: tuple[Any, ...], kwargs: dict[str, Any], fault: str) -> None:
    with pytest.raises(ParameterBindError, match=fault) as caught:
        Binder(add, "my task").bind(args, kwargs)
    assert "my task(x, y=1)" in str(caught.value)
    assert isinstance(caught.value, TypeError)


def test_keyword_only_is_required() -> None:
    binder = Binder(everything)
    assert binder.bind((1, 2, 3), {"c": 1}) == ((1, 2, 3), {"c": 1})
    with pytest.raises(ParameterBindError, match="missing 'c'"):
        binder.bind((1, 2), {})
    with pytest.raises(ParameterBindError):
        binder.bind((1,), {"c": 1})


def test_as_dict_applies_defaults_in_order() -> None:
    assert list(Binder(add).as_dict((1,), {}).items()) == [("x", 1), ("y", 1)]
    found = Binder(everything).as_dict((1, 2, 3, 4), {"c": 5, "e": 6})
    assert list(found.items()) == [("a", 1), ("b", 2), ("rest", (3, 4)), ("c", 5), ("d", 4), ("more", {"e": 6})]


def test_as_dict_of_variadics_left_out() -> None:
    def star(*rest: int, **more: int) -> None: ...
    def more_only(x: int, *, k: int = 3, **more: int) -> None: ...

    assert Binder(star).as_dict((), {}) == {"rest": (), "more": {}}
    binder = Binder(more_only)
    first, second = binder.as_dict((1,), {}), binder.as_dict((1,), {})
    assert first == {"x": 1, "k": 3, "more": {}}
    assert first["more"] is not second["more"]
    with pytest.raises(ParameterBindError):
        binder.as_dict((), {})


def test_what_it_says_of_the_function() -> None:
    binder = Binder(everything)
    assert binder.has_varargs
    assert binder.has_varkw
    assert binder.names == ("a", "b", "rest", "c", "d", "more")
    assert binder.required == ("a", "b", "c")
    assert [binder.label(k) for k in (0, 1, 2, 3, "c")] == ["a", "b", "rest[0]", "rest[1]", "c"]


@pytest.mark.parametrize("name", ["return_state", "wait_for"])
def test_reserved_names(name: str) -> None:
    namespace: dict[str, Any] = {}
    exec(f"def f(x, {name}=None): ...", namespace)
    with pytest.raises(OptionError, match=name):
        Binder(namespace["f"])


def test_callables_of_all_sorts() -> None:
    thing = Callable()
    assert Binder(thing).as_dict((1,), {}) == {"x": 1}
    assert Binder(thing).fn_name == "Callable"
    assert Binder(thing.method).as_dict((1,), {}) == {"x": 1, "y": 2}
    assert Binder(functools.partial(add, 1)).as_dict((5,), {}) == {"y": 5}
    fixed = Binder(functools.partial(add, x=1))
    assert fixed.as_dict((), {"y": 3}) == {"x": 1, "y": 3}
    with pytest.raises(ParameterBindError):
        fixed.bind((3,), {})
    assert Binder(math.sqrt).bind((4.0,), {}) == ((4.0,), {})
    with pytest.raises(ParameterBindError):
        Binder(math.sqrt).bind((4.0, 5.0), {})


def test_no_signature_takes_anything() -> None:
    binder = Binder(max)
    if binder.signature is not None:
        pytest.skip("this Python knows the signature of max")
    assert binder.bind((1, 2, 3), {"key": abs}) == ((1, 2, 3), {"key": abs})
    assert binder.as_dict((1,), {}) == {"args": (1,), "kwargs": {}}
    assert binder.label(2) == "args[2]"


def test_long_defaults_are_not_told() -> None:
    def f(x: int, table: Any = tuple(range(1000))) -> None: ...

    with pytest.raises(ParameterBindError, match=r"f\(x, table=\.\.\.\)"):
        Binder(f).bind((), {})


# -- functions under decorators: what is called decides ------------------------------------------------


def wrapped(inner: Any, wrapper: Any) -> Any:
    return functools.wraps(inner)(wrapper)


def passes_on(inner: Any) -> Any:
    return wrapped(inner, lambda *args, **kwargs: inner(*args, **kwargs))


def gives(inner: Any) -> Any:
    return wrapped(inner, lambda *args, **kwargs: inner("given", *args, **kwargs))


def takes_more(inner: Any) -> Any:
    return wrapped(inner, lambda *args, verbose=False, **kwargs: (verbose, inner(*args, **kwargs)))


def narrows(inner: Any) -> Any:
    return wrapped(inner, lambda x: inner(x, 2))


class Decorator:
    def __init__(self, inner: Any) -> None:
        functools.update_wrapper(self, inner)

    def __call__(self, *args: Any, **kwargs: Any) -> None: ...


@pytest.mark.parametrize(
    ("fn", "args", "kwargs", "parameters"),
    [
        (passes_on(add), (1,), {}, {"x": 1, "y": 1}),
        (passes_on(passes_on(add)), (1,), {"y": 2}, {"x": 1, "y": 2}),
        (Decorator(add), (1,), {}, {"x": 1, "y": 1}),
        (functools.partial(passes_on(add), 1), (), {}, {"y": 1}),
        (functools.lru_cache(add), (1,), {}, {"x": 1, "y": 1}),
        (gives(lambda conn, x: x), (5,), {}, {"args": (5,), "kwargs": {}}),
        (takes_more(add), (1,), {"verbose": True}, {"x": 1, "y": 1, "verbose": True}),
        (takes_more(add), (1,), {}, {"x": 1, "y": 1}),
        (narrows(add), (1,), {}, {"x": 1}),
    ],
)
def test_arguments_of_decorated_functions(fn: Any, args: Any, kwargs: Any, parameters: Any) -> None:
    binder = Binder(fn)
    assert binder.bind(args, kwargs) == (args, kwargs)
    assert binder.as_dict(args, kwargs) == parameters
    given, named = binder.call_of(parameters)
    assert binder.as_dict(given, named) == parameters


@pytest.mark.parametrize(
    ("fn", "args", "kwargs"),
    [
        (add, (1,), {"y": 2}),
        (everything, (1, 2, 3), {"c": 4, "e": 5}),
        (max, (1, 2), {"key": None}),
        (gives(lambda conn, x: x), (5,), {"z": 1}),
        (takes_more(add), (1,), {"verbose": True}),
    ],
)
def test_call_is_made_again_of_its_parameters(fn: Any, args: Any, kwargs: Any) -> None:
    binder = Binder(fn)
    parameters = binder.as_dict(args, kwargs)
    assert binder.as_dict(*binder.call_of(parameters)) == parameters


def test_a_wrapper_that_takes_less_says_so() -> None:
    with pytest.raises(ParameterBindError, match="takes at most 1 positional"):
        Binder(narrows(add)).bind((1, 2), {})


def test_defaults_that_cannot_be_compared_are_let_be() -> None:
    class Vague:
        def __eq__(self, other: object) -> bool:
            raise ValueError("ambiguous")

        __hash__ = None  # type: ignore[assignment]

    vague = Vague()

    def fn(x: Any = vague, *rest: Any) -> None: ...

    assert Binder(fn).names == ("x", "rest")


@pytest.mark.parametrize(
    ("fn", "takes"),
    [
        (add, False),
        (lambda x, window: x, True),
        (lambda x, **options: x, True),
        (lambda *window: window, False),
        (passes_on(add), False),
        (passes_on(lambda x, **options: x), True),
        (passes_on(lambda x, window=1: x), True),
        (wrapped(add, lambda *args, window=1, **kwargs: None), True),
        (max, False),
    ],
)
def test_which_keywords_are_the_functions_own(fn: Any, takes: bool) -> None:
    assert Binder(fn).takes("window") is takes
