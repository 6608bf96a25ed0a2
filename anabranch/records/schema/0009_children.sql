-- Each reaping looks for what cancelled flow runs have ordered. It begins with the children that go on: they are few,
-- and there may be very many orders, or children that ended long ago.

CREATE INDEX flow_runs_of_parent ON flow_runs (parent_run, id) WHERE parent_run <> '' AND ended IS NULL;
