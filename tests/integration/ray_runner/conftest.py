"""A session on Ray that a whole file shares."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cloudpickle
import pytest

from anabranch import RayRunner
from anabranch import session as sessions
from anabranch.records.memory import MemoryRecords
from anabranch.session import Session
from anabranch.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def on_ray(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """Two workers; the file's functions travel by value."""
    home = tmp_path_factory.mktemp("home")
    made = Session(Settings(home=home, runner=RayRunner(num_cpus=2), progress=False), records=MemoryRecords())
    before = sessions.use(made)
    cloudpickle.register_pickle_by_value(request.module)
    yield made
    cloudpickle.unregister_pickle_by_value(request.module)
    sessions.use(before)
    made.close()
