"""When runs are due: cron, intervals and rrules in local time, as pure functions of a moment."""

from __future__ import annotations

from anabranch.scheduling.cron import Cron as Cron
from anabranch.scheduling.interval import Interval as Interval
from anabranch.scheduling.rrule import RRule as RRule
from anabranch.scheduling.schedule import Schedule as Schedule
from anabranch.scheduling.spec import document as document
from anabranch.scheduling.spec import parse as parse
from anabranch.scheduling.spec import rows as rows
from anabranch.scheduling.ticks import backfill as backfill
from anabranch.scheduling.ticks import due as due
from anabranch.scheduling.ticks import upcoming as upcoming
