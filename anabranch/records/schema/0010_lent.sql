-- An order whose driver waits for a run that it has ordered lends its slots, and the place at its agent, to others.

ALTER TABLE orders ADD COLUMN lent INTEGER NOT NULL DEFAULT 0;

-- The counts of what holds slots read the index alone, and an order that lends is not in it.
DROP INDEX orders_held;
CREATE INDEX orders_held ON orders (pool, queue, deployment, agent) WHERE state IN (1, 2) AND lent = 0;

-- Reports ask for the runs that a run has made.
CREATE INDEX flow_runs_below ON flow_runs (parent_run, created, id) WHERE parent_run <> '';
