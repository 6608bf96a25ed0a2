from anabranch.scheduling.cron import Cron as Cron
from anabranch.scheduling.interval import Interval as Interval
from anabranch.scheduling.rrule import RRule as RRule
