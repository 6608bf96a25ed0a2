"""A server as a process: what it may bind, and an end that nothing delays."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from anabranch.core.errors import ConfigurationError
from anabranch.server import process
from anabranch.server.process import Binding


class Keys:
    """As many keys as a test wants."""

    def __init__(self, some: bool) -> None:
        self._some = some

    def any(self) -> bool:
        return self._some


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.9.9.9"])
def test_this_machine_alone_needs_nothing(host: str) -> None:
    keys: Any = Keys(False)
    process.check(Binding(host), keys)
    assert Binding(host).here_only


@pytest.mark.parametrize(
    ("binding", "keys", "said"),
    [
        (Binding("0.0.0.0"), False, "needs a key first"),
        (Binding("0.0.0.0", insecure=True), False, "needs a key first"),
        (Binding("127.0.0.1", behind_proxy=True), False, "behind a proxy needs a key first"),
        (Binding("flows.example.org"), True, "would send keys in the clear"),
        (Binding("::"), True, "would send keys in the clear"),
        (Binding("0.0.0.0", insecure=True), True, ""),
        (Binding("0.0.0.0", behind_proxy=True), True, ""),
        (Binding("0.0.0.0", certificate="a.pem", certificate_key="b.pem"), True, ""),
    ],
)
def test_others_reach_a_server_with_keys_on_a_hidden_way(binding: Binding, keys: bool, said: str) -> None:
    made: Any = Keys(keys)
    assert not binding.here_only
    if not said:
        process.check(binding, made)
        return
    with pytest.raises(ConfigurationError, match=said):
        process.check(binding, made)


def test_a_long_step_does_not_keep_a_server_from_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "GRACE", 0.05)
    gate = threading.Event()

    class Services:
        def stop(self) -> None:
            gate.wait(60)

    services: Any = Services()
    process._stop(services)  # returns though the gate is shut
    assert not gate.is_set()
    gate.set()


def test_an_address_is_one_to_type() -> None:
    assert Binding("::1", 4200, "/x/").address == "http://[::1]:4200/x"
    assert Binding("h", 1, certificate="a").address == "https://h:1"
