"""The file by which the parts of a cluster find each other, and the lines between them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
from typing import TYPE_CHECKING

import pytest

from anabranch.clusters.certificates import new_certificate
from anabranch.clusters.hub import Hub, Line
from anabranch.clusters.rendezvous import Rendezvous, awaited, both_show
from anabranch.core.errors import RunnerError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

pytest.importorskip("cryptography")


@pytest.fixture(scope="module")
def found() -> Rendezvous:
    return Rendezvous(("127.0.0.1:1",), *new_certificate(), "token")


def test_only_its_owner_reads_it_and_it_comes_whole(found: Rendezvous, tmp_path: Path) -> None:
    file = tmp_path / "7.0" / "driver.json"
    assert Rendezvous.read(file) is None
    found.write(file)
    assert Rendezvous.read(file) == found
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert os.listdir(file.parent) == ["driver.json"]


def test_a_file_that_comes_late_is_waited_for(found: Rendezvous, tmp_path: Path) -> None:
    """A client of NFS may see a new name up to a minute late."""
    file, times = tmp_path / "driver.json", [0.0]

    def pause(seconds: float) -> None:
        times[0] += seconds
        if times[0] > 60:
            found.write(file)

    assert awaited(file, 300, lambda: times[0], pause) == found
    assert os.listdir(tmp_path) == ["driver.json"]


def test_a_file_that_never_comes_is_told_of(tmp_path: Path) -> None:
    times = [0.0]
    with pytest.raises(RunnerError, match=r"driver has not said within 300 s .*driver.json; is that folder"):
        awaited(tmp_path / "driver.json", 300, lambda: times[0], lambda s: times.__setitem__(0, times[0] + s))


def test_a_place_that_cannot_be_written_is_named(found: Rendezvous, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunnerError, match=r"cannot be told where to meet: .*file/driver.json cannot be written"):
        found.write(tmp_path / "file" / "driver.json")


@contextlib.asynccontextmanager
async def hub(
    found: Rendezvous, folder: Path, signalled: Callable[[], None] = lambda: None
) -> AsyncIterator[tuple[Hub, str, list[str]]]:
    troubles: list[str] = []

    async def go(by: str) -> str:
        return f"tls://{by}:5"

    made = Hub(go, lambda name, text: troubles.append(f"{name}: {text}"), signalled)
    port = await made.listen("127.0.0.1", both_show(found, str(folder), server=True))
    yield made, f"127.0.0.1:{port}", troubles
    await made.close()


def dead_port() -> str:
    """An address at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


async def until(true: Callable[[], object]) -> None:
    while not true():  # noqa: ASYNC110
        await asyncio.sleep(0.01)


async def settled(line: Line, hub: Hub) -> None:
    await line.close()
    await until(lambda: not hub._lines)


def test_the_first_address_is_dead_and_the_second_one_good(found: Rendezvous, tmp_path: Path) -> None:
    async def play() -> None:
        async with hub(found, tmp_path) as (made, address, troubles):
            context = both_show(found, str(tmp_path), server=False)
            line = await Line.reach("n1-0", [dead_port(), address], context, 30, 30)
            assert (line.go, line.ours, len(made._lines)) == ("tls://127.0.0.1:5", "127.0.0.1", 1)
            line.up()
            line.trouble("no room")
            await until(lambda: troubles)
            assert made.up == 1
            assert troubles == ["n1-0: no room"]
            await settled(line, made)

    asyncio.run(play())


def test_a_signal_that_a_set_has_had_is_told_and_is_no_trouble(found: Rendezvous, tmp_path: Path) -> None:
    async def play() -> None:
        heard: list[str] = []
        async with hub(found, tmp_path, lambda: heard.append("signal")) as (made, address, troubles):
            line = await Line.reach("n1-0", [address], both_show(found, str(tmp_path), server=False), 30, 30)
            line.signalled()
            line.up()
            await until(lambda: made.up)
            assert (heard, troubles) == (["signal"], [])
            await settled(line, made)

    asyncio.run(play())


def test_a_neighbours_program_at_the_address_is_not_taken_for_the_driver(found: Rendezvous, tmp_path: Path) -> None:
    other = Rendezvous((), *new_certificate())

    async def play() -> None:
        async with hub(found, tmp_path) as (made, address, _), hub(other, tmp_path) as (theirs, wrong, _):
            context = both_show(found, str(tmp_path), server=False)
            line = await Line.reach("n1-0", [wrong, address], context, 30, 30)
            assert (len(made._lines), len(theirs._lines)) == (1, 0)
            await settled(line, made)

    asyncio.run(play())


def test_a_program_that_listens_and_says_nothing_does_not_hold_a_set_up(
    found: Rendezvous, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anabranch.clusters.hub.TRY_SECONDS", 0.2)

    async def play() -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            async with hub(found, tmp_path) as (made, address, _):
                mute = f"127.0.0.1:{silent.getsockname()[1]}"
                line = await Line.reach("n", [mute, address], both_show(found, str(tmp_path), server=False), 30, 30)
                assert len(made._lines) == 1
                await settled(line, made)

    asyncio.run(play())


def test_no_address_answers(found: Rendezvous, tmp_path: Path) -> None:
    async def play() -> None:
        address = dead_port()
        with pytest.raises(RunnerError, match=rf"does not reach the driver at any of {address}: a firewall"):
            await Line.reach("n", [address], both_show(found, str(tmp_path), server=False), 0, 1)

    asyncio.run(play())


def test_the_line_ends_with_the_hub(found: Rendezvous, tmp_path: Path) -> None:
    async def play() -> None:
        async with hub(found, tmp_path) as (made, address, _):
            line = await Line.reach("n", [address], both_show(found, str(tmp_path), server=False), 30, 30)
            ending = asyncio.create_task(made.close())
            await asyncio.wait_for(line.ended(), 30)
            await settled(line, made)
            await ending

    asyncio.run(play())


def test_hundreds_of_sets_come_in_the_same_moment(found: Rendezvous, tmp_path: Path) -> None:
    async def play() -> None:
        async with hub(found, tmp_path) as (made, address, _):
            context = both_show(found, str(tmp_path), server=False)
            lines = await asyncio.gather(*(Line.reach(f"n-{n}", [address], context, 60, 60) for n in range(200)))
            assert len(made._lines) == 200
            for line in lines:
                await line.close()
            await until(lambda: not made._lines)

    asyncio.run(play())
