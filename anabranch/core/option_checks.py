"""Checks of options: each turns what the user wrote into what the engine reads, or raises ValueError, saying why."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, timedelta
from typing import Any, Literal

Delay = float | tuple[float, ...] | Callable[[int], Any]
MAX_DELAYS = 50
_TIME_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(value: Any) -> float | None:
    if value is None:
        return None
    number = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        raise ValueError(f"must be seconds (a number or a timedelta), got {value!r}")
    if number < 0 or number != number:
        raise ValueError(f"must be 0 or more, got {value!r}")
    return float(number)


def zone_name(value: Any) -> str | None:
    """Return the name of a time zone, given so or as an object of zoneinfo or pytz; None for one without a name."""
    if value is None or isinstance(value, str):
        return value
    name = "UTC" if value is UTC else getattr(value, "key", None) or getattr(value, "zone", None)
    return name if isinstance(name, str) else None


def timeout(value: Any) -> float | None:
    return seconds(value) or None  # 0 means none, as Prefect users write it


def count(value: Any) -> int:
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"must be a whole number, got {value!r}")
    if value < 0:
        raise ValueError(f"must be 0 or more, got {value}")
    return value


def seed(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not hasattr(type(value), "__index__"):
        raise ValueError(f"must be a whole number of 0 or more, got {value!r}")
    number = operator.index(value)
    if number < 0:
        raise ValueError(f"must be a whole number of 0 or more, got {number}")
    return number


def delay(value: Any) -> Delay:
    if value is None:
        return 0.0
    if callable(value):
        return value  # type: ignore[no-any-return]
    if isinstance(value, (list, tuple)):
        if len(value) > MAX_DELAYS:
            raise ValueError(f"must have at most {MAX_DELAYS} delays, got {len(value)}; the last one repeats")
        return tuple(seconds(v) or 0.0 for v in value)
    return seconds(value) or 0.0


def jitter(value: Any) -> float:
    number = seconds(value)
    return number or 0.0


def function(value: Any) -> Callable[..., Any] | None:
    if value is not None and not callable(value):
        raise ValueError(f"must be a function, got {value!r}")
    return value  # type: ignore[no-any-return]


def functions(value: Any) -> tuple[Callable[..., Any], ...]:
    if value is None:
        return ()
    if callable(value):
        return (value,)
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise ValueError(f"must be a function or a list of functions, got {value!r}")
    found = tuple(value)
    for one in found:
        if not callable(one):
            raise ValueError(f"must contain functions alone, got {one!r}")
    return found


def strings(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, Iterable):
        raise ValueError(f"must be a string or a list of strings, got {value!r}")
    found = tuple(value)
    for one in found:
        if not isinstance(one, str):
            raise ValueError(f"must contain strings alone, got {one!r}")
    return tuple(dict.fromkeys(found))


def text(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ValueError(f"must be a string, got {value!r}")
    return value


def template(value: Any) -> str | Callable[..., str] | None:
    if value is None or isinstance(value, str):
        return value
    if callable(value):
        return value  # type: ignore[no-any-return]
    raise ValueError(f"must be a format string or a function, got {value!r}")


def flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"must be True or False, got {value!r}")
    return value


def maybe_flag(value: Any) -> bool | None:
    return None if value is None else flag(value)


def exceptions(value: Any) -> tuple[type[BaseException], ...]:
    if value is None:
        return ()
    found = value if isinstance(value, (list, tuple, set, frozenset)) else (value,)
    for one in found:
        if not (isinstance(one, type) and issubclass(one, BaseException)):
            raise ValueError(f"must be exception types, got {one!r}")
    return tuple(found)


def parse_walltime(text: str) -> float:
    """Return the seconds of a job's time: "90" (minutes), "1:30:00", "2-12:00:00", "2h".

    "1:30" is refused: it is read as minutes and seconds by some, as hours and minutes by others.
    """
    clock = re.fullmatch(r"(?:(\d+)-(\d+)(?::(\d+)(?::(\d+))?)?)|(?:(\d+):(\d\d):(\d\d))", text)
    found = 0.0
    if unit := re.fullmatch(r"(\d+)([smhd]?)", text):
        found = float(int(unit[1]) * _TIME_UNITS[unit[2] or "m"])
    elif clock:
        days, *rest = (int(part or 0) for part in clock.groups())
        hours, minutes, seconds = rest[:3] if clock[1] else rest[3:]
        found = float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
    if not found:
        raise ValueError(f"must be 90 (minutes), 1:30:00, 2-12:00:00 or 2h, got {text!r}")
    return found


_UNITS = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


def parse_bytes(value: Any) -> int | None:
    """Bytes from a number or a text such as "2 GiB", "500MB", "1.5G"."""
    if value is None:
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0:
        return int(value)
    if isinstance(value, str):
        text = value.strip().lower().removesuffix("b").strip()
        digits = text.rstrip("kmgti ")
        try:
            return int(float(digits) * _UNITS.get(text[len(digits) :].strip(), 1 if text == digits else 0)) or None
        except ValueError:
            pass
    raise ValueError(f'must be a size such as 2_000_000_000 or "2 GiB", got {value!r}')


def amount(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        raise ValueError(f"must be a number of 0 or more, got {value!r}")
    return float(value)


def amounts(value: Any) -> dict[str, float]:
    if not value:
        return {}
    if not isinstance(value, Mapping):
        raise ValueError(f'must be a dict such as {{"licence": 1}}, got {value!r}')
    return {str(name): amount(one) or 0.0 for name, one in value.items()}


def whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"must be a whole number, got {value!r}")
    return value


def positive(value: Any) -> int:
    number = whole(value)
    if number < 1:
        raise ValueError(f"must be greater than 0, got {number}")
    return number


def auto(value: Any) -> int | Literal["auto"]:
    return "auto" if value in (None, "auto") else positive(value)


def one_of(*words: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if value not in words:
            raise ValueError(f"must be one of {', '.join(map(repr, words))}, got {value!r}")
        return str(value)

    return check


def as_is(value: Any) -> Any:
    return value


def cache_policy(value: Any) -> Any:
    if value is None or hasattr(value, "compute_key"):
        return value
    raise ValueError(f"must be a policy from anabranch.cache_policies, got {value!r}")


def expiration(value: Any) -> float | None:
    return seconds(value)
