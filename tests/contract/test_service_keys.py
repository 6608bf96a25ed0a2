"""What any service does with keys: an admin's side of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from anabranch.core.access import ROLES
from anabranch.core.errors import ServiceError
from anabranch.core.orders import Pool
from tests.contract.services import NOW, place, service

if TYPE_CHECKING:
    from anabranch.core.service import Service
    from tests.contract.services import Place

__all__ = ["place", "service"]


def test_a_key_is_shown_once_and_listed_without_its_text(service: Service) -> None:
    made = service.keys.make("ann", "editor", expires=NOW + 60)
    (listed,) = service.keys.all()
    assert listed == made.key
    assert (listed.name, listed.role, listed.created, listed.expires) == ("ann", "editor", NOW, NOW + 60)
    assert made.text.startswith(f"ab_{listed.id}_")
    assert len(made.text) == 3 + 8 + 1 + 43
    assert made.text[-43:] not in repr(service.keys.all())


def test_a_key_ends_by_its_name_or_its_id(service: Service, place: Place) -> None:
    service.keys.make("ann", "viewer")
    place.clock.advance(1)
    other = service.keys.make("bob", "agent", pool="default")
    assert service.keys.revoke("ann")
    assert not service.keys.revoke("ann")
    assert service.keys.revoke(other.key.id)
    assert [(key.name, key.revoked) for key in service.keys.all()] == [("bob", NOW + 1), ("ann", NOW + 1)]
    assert service.keys.make("ann", "viewer").key.id != other.key.id


@pytest.mark.parametrize("role", ROLES)
def test_each_role_has_keys(service: Service, role: str) -> None:
    assert service.keys.make("it", role).key.role == role


@pytest.mark.parametrize(
    ("name", "role", "pool", "said"),
    [
        (" ", "viewer", "", "a key needs a name"),
        ("ann", "edtor", "", "no role 'edtor'; did you mean 'editor'"),
        ("ann", "run", "", "no role 'run'"),
        ("ann", "agent", "gpus", "no pool 'gpus'; did you mean 'gpu'"),
        ("ann", "editor", "gpu", "a pool is for keys of agents"),
        ("eve", "editor", "", "there is a key 'eve' already"),
    ],
)
def test_a_refusal_says_what_is_wrong(service: Service, name: str, role: str, pool: str, said: str) -> None:
    service.pools.put(Pool("gpu"))
    service.keys.make("eve", "viewer")
    with pytest.raises(ServiceError, match=said):
        service.keys.make(name, role, pool=pool)
    assert [key.name for key in service.keys.all()] == ["eve"]


def test_nothing_is_noted_before_a_key_writes(service: Service) -> None:
    service.pools.put(Pool("gpu"))
    assert service.keys.audit() == []
