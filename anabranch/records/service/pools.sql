-- Pools, queues, projects.

-- name: lock_pool
-- A pool whose orders change: others wait until the transaction ends, and its agents look again.
UPDATE work_pools SET turn = turn + 1 WHERE name = ?;

-- name: put_pool
-- A pool as it is to be.
INSERT INTO work_pools (name, kind, template, slots, paused, description, turn)
VALUES (?, ?, ?, ?, ?, ?, 0)
ON CONFLICT (name) DO UPDATE SET
    kind = excluded.kind, template = excluded.template, slots = excluded.slots, paused = excluded.paused,
    description = excluded.description, turn = work_pools.turn + 1;

-- name: pools
-- All pools.
SELECT name, kind, template, slots, paused, description FROM work_pools ORDER BY name;

-- name: pool
-- The pool of a name.
SELECT name, kind, template, slots, paused, description FROM work_pools WHERE name = ?;

-- name: face
-- For each pool, how often its orders have changed, and the last of them that is due.
SELECT p.name, p.turn, (SELECT max(o.due) FROM orders AS o WHERE o.pool = p.name AND o.state = 0 AND o.due <= ?)
FROM work_pools AS p
ORDER BY p.name;

-- name: pool_users
-- How many deployments name a pool, and how many of its orders are not done.
SELECT (SELECT count(*) FROM deployments WHERE pool = :pool),
    (SELECT count(*) FROM orders WHERE pool = :pool AND state < 3);

-- name: drop_pool
-- A pool goes.
DELETE FROM work_pools WHERE name = ?;

-- name: drop_pool_queues
-- The queues of a pool go with it.
DELETE FROM work_queues WHERE pool = ?;

-- name: drop_pool_agents
-- The agents of a pool go with it.
DELETE FROM agents WHERE pool = ?;

-- name: put_queue
-- A queue as it is to be.
INSERT INTO work_queues (pool, name, priority, slots, paused)
VALUES (?, ?, ?, ?, ?)
ON CONFLICT (pool, name) DO UPDATE SET
    priority = excluded.priority, slots = excluded.slots, paused = excluded.paused;

-- name: enter_queue
-- A queue where there is none of the name.
INSERT INTO work_queues (pool, name, priority, slots, paused)
VALUES (?, ?, 1, NULL, 0)
ON CONFLICT (pool, name) DO NOTHING;

-- name: queues
-- The queues of a pool, those served first in front.
SELECT pool, name, priority, slots, paused FROM work_queues WHERE pool = ? ORDER BY priority, name;

-- name: queue_users
-- How many deployments name a queue, and how many of its orders are not done.
SELECT (SELECT count(*) FROM deployments WHERE pool = :pool AND queue = :queue),
    (SELECT count(*) FROM orders WHERE pool = :pool AND queue = :queue AND state < 3);

-- name: drop_queue
-- A queue goes.
DELETE FROM work_queues WHERE pool = ? AND name = ?;
