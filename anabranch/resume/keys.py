"""The keys of a resumable flow run's calls, under which `RecordedRun` has the results of an earlier driver.

    key of a call = digest of (path of runs, task, inputs, how many such calls came before)
                    an upstream future counts as its own key, a map's elements by a digest each (core/previous_items.py)

Single runs are found by their keys in any order; a map by its key, and its items by place and inputs.
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

from anabranch import logs
from anabranch.core.errors import SerializationError
from anabranch.core.frozen import as_given
from anabranch.core.identity import identity_of
from anabranch.core.keys import DIGEST_BYTES, hash_value
from anabranch.core.previous_items import PreviousItems

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from anabranch.core.layout import Layout
    from anabranch.core.maps import MapRun, Upstream
    from anabranch.resume.recorded_run import Place, RecordedRun

_SLICE = 65_536  # items of a map that are hashed at once


class Resume:
    """Gives the calls of one flow run their keys, and the recorded results under them; used by its scope.

    Args:
        past: None when no driver had the run before.
        kept: takes, for the outermost run, the places of blocks that are not needed once it has completed.
    """

    def __init__(self, path: str, past: RecordedRun | None, kept: list[str]) -> None:
        self.path = path
        self.past = past
        self.kept = kept
        self._lock = threading.Lock()
        self._seen: Counter[str] = Counter()  # calls of each key
        self._singles: Counter[bytes] = Counter()  # single runs of each key
        self._recorded: dict[str, dict[bytes, Place | None]] = {}  # by a series' key
        self._unhashed = 0
        self._warned: set[str] = set()

    # -- maps --------------------------------------------------------------------------------------

    def begin_map(self, map: MapRun, parent: str, layout: Layout, constants: Any, ups: Sequence[Upstream]) -> None:
        """Give a map its key, and the items that an earlier driver has completed.

        Args:
            parent: key of the task run that made it, "" for the flow.
            constants: with holes in place of futures.
            ups: the upstreams that all items read or wait for.
        """
        feeds = [keys_of(up) for up in map.inputs.feeds]
        inputs = (constants, repr(layout.binding), feeds, [keys_of(up) for up in ups])
        self._begin(map, parent, inputs, tuple(ups))
        if map.resume.previous is not None and map.inputs.source is not None:
            map.resume.previous.wraps = bool(map.inputs.feeds)
            if map.inputs.source.random_access:
                self._verify(map)

    def begin_listed(self, map: MapRun, parent: str, calls: Sequence[tuple[Any, Sequence[Upstream]]]) -> None:
        """Do as `begin_map`, for a map with whole calls as items."""
        self._begin(map, parent, len(calls), ())
        map.resume.keys = bytearray()
        for index, (call, ups) in enumerate(calls):
            digest = self._digest(map, (call, [keys_of(up) for up in ups]))
            map.resume.keys += digest
            if map.resume.previous is not None:
                map.resume.previous.verify_digest(index, digest)

    def _begin(self, map: MapRun, parent: str, inputs: Any, ups: tuple[Upstream, ...]) -> None:
        map.values.resumable = True
        map.resume.code_hash = self._code(map)
        key = self._digest(map, (self.path, parent, map.spec.name, inputs)).hex()
        with self._lock:
            nth = self._seen[key]
            self._seen[key] += 1
        map.resume.call_key = f"{key}-{nth}"
        map.resume.previous = self.past.map(map) if self.past is not None else None
        if map.resume.previous is not None:
            map.inputs.once_read = ups
            map.values.stored = map.resume.previous.places

    def _verify(self, map: MapRun) -> None:
        assert map.resume.previous is not None
        assert map.inputs.source is not None
        length = min(len(map.resume.previous.marks), map.inputs.source.length or 0)
        for lo in range(0, length, _SLICE):
            given = map.inputs.source.slice(lo, min(lo + _SLICE, length))
            map.resume.previous.verify(lo, (as_given(value) for value in given))

    # -- single runs -------------------------------------------------------------------------------

    def begin_series(self, map: MapRun, parent: str) -> None:
        """Give a series of single runs its key; it supersedes the series recorded under the key."""
        map.values.resumable = True
        map.resume.code_hash = self._code(map)
        map.resume.call_key = hash_value((self.path, parent, map.spec.name, map.kind, map.header.tags))
        map.resume.keys = bytearray()
        if self.past is None:
            return
        map.resume.previous = PreviousItems()
        if map.resume.call_key in self._recorded:  # another series with this key: they share what there is
            return
        self._recorded[map.resume.call_key] = self.past.series(map)

    def single(self, map: MapRun, index: int, call: Any, ups: Sequence[Upstream]) -> bool:
        """Give a single run its key; returns whether an earlier driver completed it."""
        digest = self._nth(map, self._digest(map, (call, [keys_of(up) for up in ups])))
        with self._lock:
            keys = map.resume.keys
            assert keys is not None
            at = index * DIGEST_BYTES
            if len(keys) < at + DIGEST_BYTES:
                keys.extend(bytes(at + DIGEST_BYTES - len(keys)))
            keys[at : at + DIGEST_BYTES] = digest
            recorded = self._recorded.get(map.resume.call_key)
            if not recorded or digest not in recorded:
                return False
            place = recorded.pop(digest)
            assert map.resume.previous is not None
            map.resume.previous.offer(index, place)
        return place is not None

    def key_of(self, map: MapRun, index: int) -> bytes:
        """Return the key that `single` gave."""
        assert map.resume.keys is not None
        return bytes(map.resume.keys[index * DIGEST_BYTES : (index + 1) * DIGEST_BYTES])

    def _nth(self, map: MapRun, digest: bytes) -> bytes:
        mark = bytes.fromhex(map.resume.call_key) + digest
        with self._lock:
            nth = self._singles[mark]
            self._singles[mark] += 1
        return digest if nth == 0 else bytes.fromhex(hash_value((digest, nth)))[:DIGEST_BYTES]

    def _digest(self, map: MapRun, inputs: Any) -> bytes:
        """Return the digest of a call's inputs; inputs that cannot be hashed equal no others, and run again."""
        try:
            return bytes.fromhex(hash_value(inputs, None, "inputs"))[:DIGEST_BYTES]
        except SerializationError as error:
            with self._lock:
                self._unhashed += 1
                first = map.spec.name not in self._warned
                self._warned.add(map.spec.name)
            if first:
                logs.warn(f"task {map.spec.name!r} runs again if the flow is resumed: {error}")
            return bytes.fromhex(hash_value((map.id, self._unhashed)))[:DIGEST_BYTES]

    def _code(self, map: MapRun) -> str:
        """Return the hash of the task's code and all that it reads; an opaque task equals no other."""
        spec = map.spec
        known = spec.computed
        found = known.identity(working=False) if known is not None else identity_of(spec.fn, working=False)
        if not found.opaque:
            return f"{found.code}-{found.state}"
        with self._lock:
            first = spec.name not in self._warned
            self._warned.add(spec.name)
        if first:
            logs.warn(f"task {spec.name!r} runs again if the flow is resumed: {found.opaque}")
        return f"{found.code}-?{map.id}"

    def note_places(self, maps: Iterable[MapRun]) -> None:
        """Note maps that may have stored values to delete when the run has completed."""
        for map in maps:
            stays = map.options.persist_result is True
            if not stays and (map.values.stored or map.errors or map.kind == "call"):
                self.kept.append(map.id)

    def subflow_key(self, name: str, parameters: dict[str, Any], caller: str = "") -> str:
        """Return the key of a call of a flow in this one; `caller`: the key of the task run that calls it."""
        try:
            key = hash_value((self.path, name, parameters, caller) if caller else (self.path, name, parameters))
        except SerializationError:  # the subflow begins anew each time
            return ""
        with self._lock:
            nth = self._seen[key]
            self._seen[key] += 1
        return f"{key}-{nth}"

    def tell_unmatched(self) -> None:
        """Warn at the end about recorded runs that were not called again."""
        found = {} if self.past is None else self.past.unmatched()
        if found:
            listed = ", ".join(f"{task} ({count})" for task, count in sorted(found.items()))
            logs.warn(f"recorded task runs that this run did not ask for again, or whose inputs have changed: {listed}")


def item_key(map: MapRun, index: int | None) -> str:
    """Return the key of an item or a whole map; for maps without a key one that equals no other."""
    if map.resume.keys is not None and index is not None:
        own = map.resume.keys[index * DIGEST_BYTES : (index + 1) * DIGEST_BYTES]
        return own.hex() if own else f"?{map.id}/{index}"
    key = map.resume.call_key or f"?{map.id}"
    return key if index is None else f"{key}/{index}"


def keys_of(up: Upstream) -> tuple[str, bool, bool]:
    return item_key(up.map, up.item), up.allow_failure, up.value
