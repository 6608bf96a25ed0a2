"""Names of Prefect that anabranch does not have, where programs name them and do not use them."""

from __future__ import annotations

import pickle
from typing import Any, Optional, get_type_hints

import cloudpickle
import pytest

from anabranch.compat.prefect.absent import absent

Gone: Any = absent("prefect.exceptions.ObjectLimitReached", "catch PrefectException")


def test_a_class_stands_in_except_and_lets_the_exception_through() -> None:
    def program(caught: Any) -> str:
        try:
            raise ValueError("mine")
        except caught:
            return "caught"

    with pytest.raises(ValueError, match="mine"):
        program(Gone)
    assert program((Gone, ValueError)) == "caught"


def test_a_class_stands_in_annotations() -> None:
    def program(a, b, c, d): ...

    program.__annotations__ = {"a": Gone | None, "b": Optional[Gone], "c": list[Gone | int], "d": dict[str, Gone]}  # noqa: UP045
    found = get_type_hints(program)
    assert found["a"] == Gone | None
    assert not isinstance(ValueError("x"), Gone)
    assert not isinstance(3, Gone | str)
    assert issubclass(ValueError, (Gone, ValueError))


@pytest.mark.parametrize(
    "use", [lambda: Gone(1), lambda: Gone.load("x"), lambda: type("Mine", (Gone,), {}), lambda: Gone.x],
    ids=["called", "asked", "derived", "read"],
)  # fmt: skip
def test_its_first_use_says_what_to_use(use: Any) -> None:
    with pytest.raises(NotImplementedError, match=r"anabranch has no prefect\.exceptions\.ObjectLimitReached: "):
        use()


def test_it_travels() -> None:
    def catching() -> str:
        try:
            raise ValueError("mine")
        except Gone:
            return "caught"
        except ValueError:
            return "passed on"

    assert pickle.loads(pickle.dumps(Gone)) is Gone
    other = cloudpickle.loads(cloudpickle.dumps(Gone))
    with pytest.raises(NotImplementedError, match="anabranch has no prefect"):
        other()
    assert cloudpickle.loads(cloudpickle.dumps(catching))() == "passed on"


def test_a_function_and_a_constant_are_objects_as_before() -> None:
    for name in ("prefect.results.default_cache", "prefect.results.LITERAL_TYPES"):
        one = absent(name, "a part of Prefect's inside")
        assert repr(one) == f"<anabranch has no {name}>"
        assert not isinstance(one, type)
        with pytest.raises(NotImplementedError):
            one()
