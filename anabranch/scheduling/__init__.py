"""When runs are due: cron, intervals and rrules in local time, as pure functions of a moment."""
