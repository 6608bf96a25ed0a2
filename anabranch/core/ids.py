"""Ids and names of runs: time-ordered ids, adjective-animal names for flow runs."""

from __future__ import annotations

import os
import random
import time
import zlib

_ADJECTIVES = (
    "amber ancient bold brisk calm cheerful clever copper crimson crouching curious daring deep dusty eager "
    "elegant fearless fleet gentle gilded glad golden grand hasty humble icy idle ivory jolly keen lively lucky "
    "mellow merry misty mossy nimble noble opal patient placid polite proud quick quiet rapid rustic sage scarlet "
    "serene silent silver slender smooth solemn spry steady sturdy swift tidy tranquil upbeat vivid wandering "
    "warm wild wise witty zesty"
).split()
_ANIMALS = (
    "albatross alpaca badger bat beaver bee bison bittern boar buzzard camel capybara carp caribou cheetah chough "
    "cobra condor coot cormorant crane cricket crow curlew deer dingo dolphin dormouse dove dragonfly duck eagle eel "
    "egret elk falcon ferret finch fox frog gazelle gecko gibbon goat goose grebe grouse gull hare hawk heron "
    "hornet ibex ibis jackal jay kestrel kingfisher kittiwake kiwi koala lark lemur lizard llama loon lynx magpie "
    "marten mink mole moose moth newt nightjar ocelot octopus osprey otter owl oyster panther partridge pelican "
    "perch pika plover puffin puma quail quokka rabbit raven robin rook salmon seal shrew skylark snipe sparrow "
    "stoat stork swan swift tapir tern toad trout turtle urchin viper vole walrus weasel whale wolf wombat wren yak"
).split()


class Ids:
    """Makes ids and names; a seeded `random.Random` and a clock make them repeatable."""

    __slots__ = ("_random", "_time")

    def __init__(self, rng: random.Random | None = None, now: object = time.time) -> None:
        # Not SystemRandom, which costs a system call a name. A fork must not repeat the parent's ids.
        self._random = rng or random.Random(os.urandom(16))
        self._time = now

    def new(self) -> str:
        """Return a UUID of version 7: 48 bits of milliseconds, then random bits (RFC 9562)."""
        millis = int(self._time() * 1000) & (1 << 48) - 1  # type: ignore[operator]
        bits = self._random.getrandbits(74)
        value = millis << 80 | 0x7 << 76 | (bits >> 62) << 64 | 0b10 << 62 | bits & (1 << 62) - 1
        text = f"{value:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def name(self) -> str:
        """Return a name such as ``crouching-kittiwake``."""
        return f"{self._random.choice(_ADJECTIVES)}-{self._random.choice(_ANIMALS)}"


def short_hash(map_id: str, index: int) -> str:
    """Return three hexadecimal digits that tell task runs of one task apart on screen."""
    return f"{zlib.crc32(f'{map_id}/{index}'.encode()) & 0xFFF:03x}"
