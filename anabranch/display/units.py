"""Numbers for people: counts, sizes, durations, rates."""

from __future__ import annotations


def count(number: float) -> str:
    """Return ``1,712``."""
    return f"{number:,.0f}"


def size(nbytes: float) -> str:
    """Return ``12.4 MB``: decimal units, as disks and networks count."""
    value = float(nbytes)
    for unit in ("B", "kB", "MB", "GB"):
        if abs(value) < 999.5:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:,.1f} TB"


def duration(seconds: float) -> str:
    """Return ``31 ms``, ``0.31 s``, ``12.4 s``, ``3:07``, ``2:05:09``."""
    if seconds < 0:
        seconds = 0.0
    if 0 < seconds < 0.0995:
        return f"{max(1, round(1000 * seconds))} ms"
    if seconds < 9.995:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    return clock(seconds)


def clock(seconds: float) -> str:
    """Return ``0:12``, ``3:07``, ``2:05:09``, ``4 d 02:05``: fixed in width, for a line that changes."""
    whole = int(seconds + 0.5)
    minutes, secs = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24} d {hours % 24:02}:{minutes:02}"
    return f"{hours}:{minutes:02}:{secs:02}" if hours else f"{minutes}:{secs:02}"


def rate(per_second: float) -> str:
    """Return ``812/s``, ``3.2/s``, ``14/min``."""
    if per_second >= 100:
        return f"{count(per_second)}/s"
    if per_second >= 1:
        return f"{per_second:.1f}/s"
    return f"{per_second * 60:.1f}/min" if per_second > 0 else "-/s"
