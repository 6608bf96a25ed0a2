-- An order whose driver waits for a run that it has ordered lends its slots, and the place at its agent, to others.

ALTER TABLE orders ADD COLUMN lent INTEGER NOT NULL DEFAULT 0;

-- The counts of what holds slots, and of what agents hold, read the index alone.
DROP INDEX orders_held;
CREATE INDEX orders_held ON orders (pool, queue, deployment, agent, lent) WHERE state IN (1, 2);
DROP INDEX orders_of_agent;
CREATE INDEX orders_of_agent ON orders (agent, state, lent) WHERE state IN (1, 2);
