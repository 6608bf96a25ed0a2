"""SIGTERM while the flow of an order loads."""

from __future__ import annotations

import signal

import pytest

from anabranch.entrypoints import ordered


def test_a_handler_that_the_users_module_installs_stays() -> None:
    def own(number: int, frame: object) -> None:
        raise AssertionError(number)

    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with ordered._sigterm_heard():
            signal.signal(signal.SIGTERM, own)
        assert signal.getsignal(signal.SIGTERM) is own
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_signal_during_the_load_is_an_error_there_and_none_afterwards() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with pytest.raises(ordered.Terminated), ordered._sigterm_heard():
            signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)
