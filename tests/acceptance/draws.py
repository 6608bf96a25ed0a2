"""The numbers that a run draws, and those that it has to draw."""

from __future__ import annotations

import hashlib
import random
from typing import Any

import numpy as np

from anabranch import context

SEED = 11
Numbers = tuple[float, float, int]


def expected(seed: int, path: tuple[Any, ...], index: int) -> Numbers:
    """The numbers of one item, by the definition in docs/random_numbers.md."""
    digest = hashlib.blake2b(repr(path).encode(), digest_size=16).digest()
    words = [int.from_bytes(digest[at : at + 4], "big") for at in (0, 4, 8, 12)]
    sequence = np.random.SeedSequence(seed, spawn_key=(*words, 1, index))
    plain = float(np.random.default_rng(sequence).random())

    def key(kind: int, size: int, count: int) -> int:
        text = f"{seed}/{digest.hex()}/{kind}/{index}/{count}"
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=size).digest(), "big")

    return plain, random.Random(key(2, 32, 0)).random(), key(4, 4, 1)


def drawn() -> Numbers:
    return float(context.rng().random()), context.rng("random").random(), context.random_state()
