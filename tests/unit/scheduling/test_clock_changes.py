"""What becomes of ticks when clocks change, in six zones: a table written by hand from the zones' rules.

Each row has a zone, a schedule, a date, and all ticks of that local date with their offsets from UTC.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from anabranch.scheduling import parse, upcoming

TABLE = """
# New York: 2026-03-08 at 02:00 forward to 03:00; 2026-11-01 at 02:00 back to 01:00
America/New_York | cron 30 2 * * *       | 2026-03-08 | 03:00-04:00
America/New_York | cron 0,30 2 * * *     | 2026-03-08 | 03:00-04:00
America/New_York | cron 0 2,3 * * *      | 2026-03-08 | 03:00-04:00
America/New_York | cron */30 1-3 * * *   | 2026-03-08 | 01:00-05:00 01:30-05:00 03:00-04:00 03:30-04:00
America/New_York | cron 30 1 * * *       | 2026-11-01 | 01:30-04:00
America/New_York | cron */30 1 * * *     | 2026-11-01 | 01:00-04:00 01:30-04:00 01:00-05:00 01:30-05:00
America/New_York | cron 0 0/6 * * *      | 2026-11-01 | 00:00-04:00 06:00-05:00 12:00-05:00 18:00-05:00
America/New_York | cron 30 0/1 1 11 *    | 2026-11-01 | 00:30-04:00 01:30-04:00 01:30-05:00 ...
America/New_York | interval 21600        | 2026-03-08 | 01:00-05:00 08:00-04:00 14:00-04:00 20:00-04:00
America/New_York | days 1 02:30          | 2026-03-08 | 03:00-04:00
America/New_York | days 1 02:30          | 2026-03-09 | 02:30-04:00
America/New_York | days 1 01:30          | 2026-11-01 | 01:30-04:00
America/New_York | days 1 01:30          | 2026-11-02 | 01:30-05:00
America/New_York | rrule DAILY 02:30     | 2026-03-08 | 03:00-04:00
America/New_York | rrule DAILY 01:30     | 2026-11-01 | 01:30-04:00
America/New_York | rrule HOURLY;INTERVAL=6 00:00 | 2026-03-08 | 00:00-05:00 07:00-04:00 13:00-04:00 19:00-04:00
# Berlin: 2026-03-29 at 02:00 forward to 03:00; 2026-10-25 at 03:00 back to 02:00
Europe/Berlin | cron 30 2 * * *          | 2026-03-29 | 03:00+02:00
Europe/Berlin | cron 30 2 * * *          | 2026-10-25 | 02:30+02:00
Europe/Berlin | cron */30 2 * * *        | 2026-03-29 |
Europe/Berlin | cron */30 2 * * *        | 2026-10-25 | 02:00+02:00 02:30+02:00 02:00+01:00 02:30+01:00
Europe/Berlin | interval 28800           | 2026-10-25 | 02:00+02:00 09:00+01:00 17:00+01:00
Europe/Berlin | days 7 02:30             | 2026-03-29 | 03:00+02:00
Europe/Berlin | days 7 02:30             | 2026-10-25 | 02:30+02:00
Europe/Berlin | rrule WEEKLY;BYDAY=SU 02:30 | 2026-03-29 | 03:00+02:00
Europe/Berlin | rrule WEEKLY;BYDAY=SU 02:30 | 2026-10-25 | 02:30+02:00
Europe/Berlin | rrule HOURLY;BYHOUR=2 00:15 | 2026-03-29 |
Europe/Berlin | rrule HOURLY;BYHOUR=2 00:15 | 2026-10-25 | 02:15+02:00 02:15+01:00
# London: 2026-03-29 at 01:00 forward to 02:00; 2026-10-25 at 02:00 back to 01:00
Europe/London | cron 15 1 * * *          | 2026-03-29 | 02:00+01:00
Europe/London | cron 15 1 * * *          | 2026-10-25 | 01:15+01:00
Europe/London | cron 15 * 29 3 *         | 2026-03-29 | 00:15+00:00 02:15+01:00 03:15+01:00 04:15+01:00 ...
Europe/London | cron 15 1/23 * * *       | 2026-10-25 | 01:15+01:00 01:15+00:00
Europe/London | interval 43200           | 2026-03-29 | 00:00+00:00 13:00+01:00
Europe/London | days 1 01:15             | 2026-03-29 | 02:00+01:00
Europe/London | rrule MONTHLY;BYDAY=-1SU 01:15 | 2026-03-29 | 02:00+01:00
Europe/London | rrule MONTHLY;BYDAY=-1SU 01:15 | 2026-10-25 | 01:15+01:00
Europe/London | rrule MINUTELY;INTERVAL=45;BYHOUR=1 00:00 | 2026-10-25 | 01:00+01:00 01:45+01:00 01:30+00:00
# Sydney: 2026-04-05 at 03:00 back to 02:00; 2026-10-04 at 02:00 forward to 03:00
Australia/Sydney | cron 0 2 * * *        | 2026-10-04 | 03:00+11:00
Australia/Sydney | cron 0 2 * * *        | 2026-04-05 | 02:00+11:00
Australia/Sydney | cron */20 2 * * SUN   | 2026-10-04 |
Australia/Sydney | cron */30 2 * * SUN   | 2026-04-05 | 02:00+11:00 02:30+11:00 02:00+10:00 02:30+10:00
Australia/Sydney | interval 28800        | 2026-04-05 | 02:00+10:00 10:00+10:00 18:00+10:00
Australia/Sydney | days 1 02:45          | 2026-10-04 | 03:00+11:00
Australia/Sydney | rrule DAILY 02:45     | 2026-04-05 | 02:45+11:00
# Lord Howe changes by half an hour: 2026-04-05 at 02:00 back to 01:30; 2026-10-04 at 02:00 forward to 02:30
Australia/Lord_Howe | cron 15 2 * * *    | 2026-10-04 | 02:30+11:00
Australia/Lord_Howe | cron 45 1 * * *    | 2026-04-05 | 01:45+11:00
Australia/Lord_Howe | cron 15 1 * * *    | 2026-04-05 | 01:15+11:00
Australia/Lord_Howe | cron */15 2 * * *  | 2026-10-04 | 02:30+11:00 02:45+11:00
Australia/Lord_Howe | cron */15 2 * * *  | 2026-04-05 | 02:00+10:30 02:15+10:30 02:30+10:30 02:45+10:30
Australia/Lord_Howe | cron */15 1 * * 0  | 2026-04-05 | 01:00+11:00 01:15+11:00 01:30+11:00 01:45+11:00 01:30+10:30 ...
Australia/Lord_Howe | days 1 02:15       | 2026-10-04 | 02:30+11:00
Australia/Lord_Howe | days 1 01:45       | 2026-04-05 | 01:45+11:00
Australia/Lord_Howe | rrule DAILY 02:15  | 2026-10-04 | 02:30+11:00
Australia/Lord_Howe | interval 10800     | 2026-04-05 | 01:30+10:30 04:30+10:30 07:30+10:30 ...
# Kolkata does not change
Asia/Kolkata | cron 30 2 * * *           | 2026-03-29 | 02:30+05:30
Asia/Kolkata | cron */30 2 * * *         | 2026-10-25 | 02:00+05:30 02:30+05:30
Asia/Kolkata | days 1 02:30              | 2026-03-29 | 02:30+05:30
Asia/Kolkata | interval 43200            | 2026-03-29 | 05:30+05:30 17:30+05:30
Asia/Kolkata | rrule DAILY 02:30         | 2026-10-25 | 02:30+05:30
# Clocks that change at midnight: Sao Paulo on 2018-11-04 forward from 00:00, on 2018-02-18 back from 00:00 to 23:00
America/Sao_Paulo | cron 0 0 * * *       | 2018-11-04 | 01:00-02:00
America/Sao_Paulo | cron */20 0 * * *    | 2018-11-04 |
America/Sao_Paulo | cron 30 */23 * * *   | 2018-02-17 | 00:30-02:00 23:30-02:00 23:30-03:00
America/Sao_Paulo | cron 30 23 * * *     | 2018-02-17 | 23:30-02:00
America/Sao_Paulo | cron 0 0 * * *       | 2018-02-18 | 00:00-03:00
# A date that was skipped whole: the first instant after it
Pacific/Apia | cron 0 9 30 12 *          | 2011-12-31 | 00:00+14:00
Pacific/Apia | days 1 09:00              | 2011-12-31 | 00:00+14:00 09:00+14:00
"""
ROWS = [tuple(cell.strip() for cell in line.split("|")) for line in TABLE.splitlines() if "|" in line]


def schedule(zone: str, words: str) -> dict[str, Any]:
    kind, _, rest = words.partition(" ")
    if kind == "interval":  # in step with midnight UTC
        return {"interval": int(rest), "anchor_date": "2018-01-01T00:00+00:00", "timezone": zone}
    if kind == "days":
        days, at = rest.split()
        return {"interval": int(days) * 86_400, "anchor_date": f"2011-12-04T{at}", "timezone": zone}
    if kind == "rrule":
        rule, at = rest.split()
        text = f"DTSTART;TZID={zone}:20260102T{at.replace(':', '')}00\nRRULE:FREQ={rule}"
        return {"rrule": text, "timezone": zone}
    return {"cron": rest, "timezone": zone}


@pytest.mark.parametrize(("zone", "words", "day", "expected"), ROWS, ids=[" ".join(row[:3]) for row in ROWS])
def test_ticks_of_a_day(zone: str, words: str, day: str, expected: str) -> None:
    midnight = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(zone))
    ticks = upcoming(parse(schedule(zone, words)), midnight.timestamp() - 3 * 3600, 60)
    shown = [datetime.fromtimestamp(tick, ZoneInfo(zone)) for tick in ticks]
    found = [one.isoformat()[11:16] + one.isoformat()[19:] for one in shown if one.date() == date.fromisoformat(day)]
    wanted = expected.split()
    if wanted[-1:] == ["..."]:
        wanted, found = wanted[:-1], found[: len(wanted) - 1]
    assert found == wanted
