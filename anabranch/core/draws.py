"""Random numbers of runs: the stream that each run draws from, made when it draws for the first time.

    seed                the user's, or 128 random bits that are made when they are first asked for
    path                the flows around the map, its task, and the how-manieth map of that task it is
    kind, index         of the generator; of the item in its map
      |
      +--> SeedSequence(seed, spawn_key=(four words of the path, kind, index)) --> one generator

Neither the worker nor the chunk nor the attempt is in the key: work that is done again draws the same numbers.
"""

from __future__ import annotations

import functools
import hashlib
import random
from typing import TYPE_CHECKING, Any, Protocol

from anabranch.core.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy

Path = tuple[str | int, ...]
NUMPY, PYTHON, TORCH, STATE = 1, 2, 3, 4  # kinds of generators; part of each key, never renumbered


class Seeds(Protocol):
    """The seed of a flow run, or of the program outside of flows; in the driver."""

    def seed(self) -> int:
        """Return the seed; made and recorded now if there was none."""
        ...

    def own(self) -> Source:
        """Return the place of the flow's own code."""
        ...


class Source:
    """The place of a map among all that draw: a seed and a path. Travels with the stage of the map.

    Attributes:
        seed: None while nobody has asked for a seed that is not given.
        first: added to the index of an item: a series of single runs may continue an earlier one.
        root: knows the seed; in the driver's process alone.
    """

    __slots__ = ("first", "path", "root", "seed")

    def __init__(self, seed: int | None, path: Path, first: int = 0, root: Seeds | None = None) -> None:
        self.seed = seed
        self.path = path
        self.first = first
        self.root = root

    def __reduce__(self) -> Any:
        return Source, (self.seed, self.path, self.first)

    def at(self, index: int) -> Path:
        """Return the path of an item: the place of what it submits."""
        return (*self.path, self.first + index)


class Streams:
    """The generators of one attempt of a run. Each is made at its first use, and goes on at the next one.

    Args:
        attempt: what tells the attempt from others whose code runs in the same place.
        seed: gives the seed; called at the first draw.
    """

    def __init__(self, source: Source, index: int, attempt: Any, seed: Callable[[], int]) -> None:
        self.attempt = attempt
        self.source = source
        self.index = source.first + index
        self._seed = seed
        self._states = 0
        self._calls: dict[str, int] = {}

    @functools.cached_property
    def seed(self) -> int:
        return self._seed()

    @functools.cached_property
    def numpy(self) -> numpy.random.Generator:
        try:
            import numpy
        except ImportError:
            raise MissingExtraError(
                "context.rng() gives a generator of NumPy, which is not installed: pip install numpy, or use "
                'context.rng("random")'
            ) from None
        digest = self._path_digest
        words = [int.from_bytes(digest[at : at + 4], "big") for at in range(0, 16, 4)]
        sequence = numpy.random.SeedSequence(self.seed, spawn_key=(*words, NUMPY, self.index))
        return numpy.random.Generator(numpy.random.PCG64(sequence))

    @functools.cached_property
    def python(self) -> random.Random:
        return random.Random(self._number(PYTHON, 32))

    @functools.cached_property
    def torch(self) -> Any:
        try:
            import torch
        except ImportError:
            raise MissingExtraError(
                'context.rng("torch") needs PyTorch, which is not installed: pip install torch'
            ) from None
        generator = torch.Generator()
        generator.manual_seed(self._number(TORCH, 8))
        return generator

    def state(self) -> int:
        """Return a number for `random_state`; another one at each call."""
        self._states += 1
        return self._number(STATE, 4, self._states)

    def called(self, task: str) -> Path:
        """Return the path of the next plain call of a task inside this run."""
        number = self._calls[task] = self._calls.get(task, -1) + 1
        return (*self.source.path, self.index, task, "call", number)

    @functools.cached_property
    def _path_digest(self) -> bytes:
        return hashlib.blake2b(repr(self.source.path).encode(), digest_size=16).digest()

    def _number(self, kind: int, size: int, count: int = 0) -> int:
        """Return `size` bytes of the key's digest as a number."""
        key = f"{self.seed}/{self._path_digest.hex()}/{kind}/{self.index}/{count}"
        return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=size).digest(), "big")
