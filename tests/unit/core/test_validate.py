from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional

import pydantic
import pytest
from typing_extensions import TypedDict

from anabranch.core.errors import ParameterBindError, ParameterTypeError
from anabranch.core.validate import CallValidator, validate_call

if TYPE_CHECKING:
    from decimal import Decimal  # a name that exists for type checkers only


class Config(pydantic.BaseModel):
    n: int
    tags: list[str] = []


@dataclass
class Box:
    side: int


class Row(TypedDict):
    a: int


class Foreign:
    """Pydantic knows nothing of this."""


def check(fn: Any, *args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return validate_call(fn, args, kwargs)


def test_coerces() -> None:
    def flow(x: int, y: float = 1, z: str = "z") -> None: ...

    assert check(flow, "5") == ((5, 1.0, "z"), {})
    assert check(flow, "5", y="2.5") == ((5, 2.5, "z"), {})
    assert check(flow, x="5", z="q") == ((5, 1.0, "q"), {})


def test_builds_from_dicts() -> None:
    def flow(config: Config, box: Box, row: Row, several: dict[str, Config]) -> None: ...

    args, _ = check(flow, {"n": "1"}, {"side": "2"}, {"a": "3"}, {"k": {"n": 4}})
    assert args == (Config(n=1), Box(2), {"a": 3}, {"k": Config(n=4)})


def test_keeps_instances() -> None:
    def flow(config: Config, foreign: Foreign, anything: Any, bare, wide: object) -> None: ...  # type: ignore[no-untyped-def]

    given = (Config(n=1), Foreign(), [1], [2], [3])
    args, _ = check(flow, *given)
    assert all(a is b for a, b in zip(args, given, strict=True))


def test_optional_union_literal_annotated() -> None:
    def flow(
        a: int | None,
        b: Optional[int],  # noqa: UP045
        c: Literal["x", "y"],
        d: Annotated[int, pydantic.Field(gt=0)],
    ) -> None: ...

    assert check(flow, None, "3", "x", "1") == ((None, 3, "x", 1), {})
    with pytest.raises(ParameterTypeError, match=r"(?s)c: got 'q'.*d: got 0"):
        check(flow, None, None, "q", 0)


def test_every_fault_is_told() -> None:
    def etl(x: int, config: Config, foreign: Foreign) -> None: ...

    with pytest.raises(ParameterTypeError) as caught:
        validate_call(etl, ("abc", {"n": 1, "tags": [5]}, 3), {}, "my-flow")
    text = str(caught.value)
    assert "flow 'my-flow': 3 parameters do not validate" in text
    assert "x: got 'abc' (str), expected int: Input should be a valid integer" in text
    assert "config: got {'n': 1, 'tags': [5]} (dict), expected Config: tags.0:" in text
    assert "foreign: got 3 (int), expected Foreign:" in text
    assert isinstance(caught.value, TypeError)


def test_long_and_secret_values_are_not_told() -> None:
    def flow(x: int, key: pydantic.SecretStr) -> None: ...

    with pytest.raises(ParameterTypeError) as caught:
        check(flow, "v" * 10_000, ["hunter2"])
    assert len(str(caught.value)) < 600
    assert "hunter2" not in str(caught.value)


def test_variadics() -> None:
    def flow(first: int, *rest: int, flag: bool = False, **more: float) -> None: ...

    assert check(flow, "1", "2", "3", flag="yes", k="1.5") == ((1, 2, 3), {"flag": True, "k": 1.5})
    with pytest.raises(ParameterTypeError, match=r"(?s)rest\[1\]: got 'b'.*k: got 'c'"):
        check(flow, 1, 2, "b", k="c")


def test_positional_only_keeps_its_place() -> None:
    def flow(a: int, /, b: int, *, c: int) -> None: ...

    args, kwargs = check(flow, "1", b="2", c="3")
    assert (args, kwargs) == ((1, 2), {"c": 3})


def test_unresolvable_hints_take_anything() -> None:
    def flow(price: Decimal, x: int, ghost: Nowhere, inner: list[Nowhere]) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    given = object()
    assert check(flow, "1.5", "2", given, given) == (("1.5", 2, given, given), {})


def test_hints_from_the_closure() -> None:
    class Local(pydantic.BaseModel):
        a: int

    def flow(local: Local) -> int:
        return Local.model_validate(local).a

    assert check(flow, {"a": "1"}) == ((Local(a=1),), {})


def of_defaults(**given: tuple[Any, Any]) -> Any:
    """A function whose parameters have these annotations and defaults, which do not fit one another for mypy."""

    def flow(*args: Any, **kwargs: Any) -> None: ...

    parameters = [
        inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=annotation)
        for name, (annotation, default) in given.items()
    ]
    flow.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return flow


def test_defaults_are_validated_as_arguments_are() -> None:
    built = of_defaults(config=(Config, {"n": "1"}), n=(int, "5"), box=(Box, {"side": "2"}), free=(Any, "x"))
    assert check(built) == ((Config(n=1), 5, Box(2), "x"), {})
    assert check(built, n="6") == ((Config(n=1), 6, Box(2), "x"), {})

    wrong = of_defaults(x=(int, "none"))
    with pytest.raises(ParameterTypeError, match="x: got 'none'"):
        check(wrong)
    assert check(wrong, 1) == ((1,), {})


def test_a_default_of_none_holds_whatever_the_annotation() -> None:
    """As older code has it, which means Optional[int]; also given by hand, as a resumed run gives it."""
    flow = of_defaults(a=(int, "0"), n=(int, None), box=(Box, None))
    assert check(flow, "1") == ((1, None, None), {})
    assert check(flow, "1", None, box=None) == ((1, None, None), {})
    with pytest.raises(ParameterTypeError, match="a: got None"):
        check(flow, None)


def test_each_call_has_a_default_of_its_own_where_it_can_be_changed() -> None:
    made: list[int] = []

    def noted(value: Any) -> Any:
        made.append(1)
        return value

    flow = of_defaults(config=(Config, {"n": 1}), n=(Annotated[int, pydantic.BeforeValidator(noted)], 5))
    (first, _), (second, _) = (check(flow)[0] for _ in range(2))
    assert first == second
    assert first is not second
    assert made == [1]  # what nobody can change is validated once


class Holder:
    def flow(self, x: int) -> int:
        return x

    def __call__(self, y: int) -> int:
        return y


def test_methods_partials_and_objects() -> None:
    holder = Holder()
    assert check(holder.flow, "1") == ((1,), {})
    assert check(holder, "1") == ((1,), {})
    assert check(functools.partial(holder.flow), x="1") == ((1,), {})
    assert check(Holder.flow, holder, "1") == ((holder, 1), {})

    @functools.wraps(Holder.flow)
    def wrapped(*args: Any, **kwargs: Any) -> None: ...

    assert check(wrapped, holder, "1") == ((holder, 1), {})
    assert check(max, 1, "2") == ((1, "2"), {})


def test_bad_arguments() -> None:
    def flow(x: int) -> None: ...

    with pytest.raises(ParameterBindError, match="flow: missing 'x'"):
        check(flow)


def test_a_validator_that_raises() -> None:
    def broken(value: Any) -> Any:
        raise KeyError("oops")

    def flow(x: Annotated[int, pydantic.BeforeValidator(broken)]) -> None: ...

    flow.__annotations__ = {"x": Annotated[int, pydantic.BeforeValidator(broken)]}
    with pytest.raises(ParameterTypeError, match="x: its validator raised KeyError"):
        check(flow, 1)


def test_made_once() -> None:
    def flow(x: int) -> None: ...

    validator = CallValidator(flow, "n")
    assert validator(("1",), {}) == ((1,), {})
    assert validator(("2",), {}) == ((2,), {})


def test_arrays_pass() -> None:
    np = pytest.importorskip("numpy")

    def flow(x: np.ndarray, n: int) -> None: ...

    flow.__annotations__ = {"x": np.ndarray, "n": int}
    array = np.zeros(2)
    args, _ = check(flow, array, "1")
    assert args[0] is array
