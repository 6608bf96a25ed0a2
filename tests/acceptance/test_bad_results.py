"""Results that can be pickled and not unpickled: who reads one fails, and its neighbours are as they were."""

from __future__ import annotations

from typing import Any

import pytest

from anabranch import flow, task

IN_PROCESS = ("inline", "thread")
BIG = 200_000


class Unbuilt:
    """Pickles as a call that cannot be made; as large as it is told to be."""

    def __init__(self, size: int) -> None:
        self.text = "x" * size

    def __reduce__(self) -> Any:
        return _refuse, (self.text,)


def _refuse(text: str) -> None:
    raise LookupError("nobody builds it")


@pytest.mark.parametrize("size", [1, BIG])
@pytest.mark.parametrize("neighbour", [int, list, Exception])
def test_neighbours_of_a_result_that_does_not_unpickle(runner: str, size: int, neighbour: type) -> None:
    """They come home in one block; each way for values to be packed."""

    def made(x: int) -> Any:
        if x == 2:
            return Unbuilt(size)
        return x if neighbour is int else neighbour([x])

    @task
    def make(x: int) -> Any:
        return made(x)

    @task
    def read(x: Any) -> str:
        return repr(x)

    good = (0, 1, 3, 4, 5)
    told: list[str] = []  # a flow that fails, as this one does, would hide what is asserted in it

    @flow
    def main() -> None:
        values = make.map(range(6), chunk=6)
        values.wait()  # else the second one travels behind the first, and nothing is read
        read_on = read.map(values, chunk=6)
        read_on.wait()
        told.extend(repr(values[n].result()) for n in good)
        told.extend(read_on[n].result() for n in good)
        told.append(read_on[2].get_state().name)
        if runner not in IN_PROCESS:
            with pytest.raises(LookupError, match="nobody builds it"):
                values[2].result()
            told.append("refused")

    state = main(return_state=True)
    stays = runner in IN_PROCESS or (runner == "dask" and size == BIG)  # on the one worker, as it is
    assert told[:10] == [repr(made(n)) for n in good] * 2
    assert told[10:] == ["Completed" if stays else "Failed", *(["refused"] if runner not in IN_PROCESS else [])]
    assert state.is_failed() != stays
