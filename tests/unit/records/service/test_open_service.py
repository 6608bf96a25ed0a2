"""Where a service can be, and what is said where it cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from anabranch.core.errors import ConfigurationError
from anabranch.core.orders import Pool
from anabranch.records import open_records, open_service
from anabranch.records.service.memory import memory_service

if TYPE_CHECKING:
    from pathlib import Path


def test_a_path_has_the_service_of_its_record(tmp_path: Path) -> None:
    service = open_service(tmp_path / "new" / "runs.db")
    service.pools.put(Pool("gpu"))
    service.close()
    with open_records(tmp_path / "new" / "runs.db") as records:
        assert records.flow_runs() == []
    again = open_service(tmp_path / "new" / "runs.db")
    assert "gpu" in [pool.name for pool in again.pools.all()]
    again.close()


@pytest.mark.parametrize("kind", ["true", "node"])
def test_a_folder_has_none_and_the_way_out_is_said(tmp_path: Path, kind: str) -> None:
    with pytest.raises(ConfigurationError, match=r"runs\.db are a folder of files.*set records to postgresql://"):
        open_service(tmp_path / "runs.db", shared=kind)
    assert list(tmp_path.iterdir()) == []


def test_an_address_that_is_no_place_for_it_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"'mysql://host/db' is not a place for the service"):
        open_service("mysql://user:secret@host/db")


def test_services_in_memory_have_nothing_in_common() -> None:
    one, other = memory_service(), memory_service()
    one.pools.put(Pool("gpu"))
    assert "gpu" not in [pool.name for pool in other.pools.all()]
    one.close()
    other.close()
