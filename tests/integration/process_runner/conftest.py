"""Process runners driven by hand, which must leave nothing in shared memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cloudpickle
import pytest

from tests.integration.process_runner import driving
from tests.integration.process_runner.driving import STRANGERS, Drive, all_of_us, mine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(autouse=True)
def by_value(request: pytest.FixtureRequest) -> Iterator[None]:
    """Workers need not import these files."""
    for module in (driving, request.module):
        cloudpickle.register_pickle_by_value(module)
    yield
    for module in (driving, request.module):
        cloudpickle.unregister_pickle_by_value(module)


@pytest.fixture(autouse=True, scope="module")
def strangers() -> None:
    """Runners that other files' tests keep open."""
    STRANGERS.update(all_of_us())


@pytest.fixture
def drive() -> Iterator[Callable[..., Drive]]:
    made: list[Drive] = []

    def make(**options: Any) -> Drive:
        made.append(Drive(**{"max_workers": 2, **options}))
        return made[-1]

    yield make
    for one in made:
        one.runner.close(cancel=True)
    assert mine() == []
