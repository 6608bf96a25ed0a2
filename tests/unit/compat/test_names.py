"""The names that the modules under Prefect's name promise, and those that say what to use in their place."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

import anabranch.compat.prefect as prefect

MODULES = [prefect.__name__, *(one.name for one in pkgutil.walk_packages(prefect.__path__, f"{prefect.__name__}."))]


@pytest.mark.parametrize("module", MODULES)
def test_every_name_that_is_promised_is_there(module: str) -> None:
    found = importlib.import_module(module)
    assert [name for name in getattr(found, "__all__", ()) if not hasattr(found, name)] == []


def test_a_name_that_needs_a_server_says_what_to_use() -> None:
    with pytest.raises(NotImplementedError, match=r"no prefect\.get_client: anabranch needs no server"):
        prefect.get_client()
    with pytest.raises(ModuleNotFoundError, match=r"no prefect\.client\.orchestration: anabranch needs no server"):
        importlib.import_module("prefect.client.orchestration")
