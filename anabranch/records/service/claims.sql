-- Agents, and what they and their drivers ask.

-- name: put_agent
-- An agent as it is now.
INSERT INTO agents (id, name, pool, queues, labels, deployments, kind, host, version, capacity, seen)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET
    name = excluded.name, pool = excluded.pool, queues = excluded.queues, labels = excluded.labels,
    deployments = excluded.deployments, kind = excluded.kind, host = excluded.host, version = excluded.version,
    capacity = excluded.capacity, seen = excluded.seen;

-- name: agents
-- Agents of a pool, or of all, with a word since a time, and how many orders each holds without those that lend.
SELECT a.id, a.name, a.pool, a.queues, a.labels, a.deployments, a.kind, a.host, a.version, a.capacity, a.seen,
    (SELECT count(*) FROM orders AS o WHERE o.agent = a.id AND o.state IN (1, 2) AND o.lent = 0)
FROM agents AS a
WHERE (:pool = '' OR a.pool = :pool) AND a.seen >= :since
ORDER BY a.pool, a.name, a.id;

-- name: agent
-- The agent of an id.
SELECT id, name, pool, queues, labels, deployments, kind, host, version, capacity, seen FROM agents WHERE id = ?;

-- name: agents_of_ids
-- Some agents (a JSON list).
SELECT id, name, pool, queues, labels, deployments, kind, host, version, capacity, seen
FROM agents
WHERE id IN (SELECT value FROM json_each(?));

-- name: hear_agent
-- A word of an agent.
UPDATE agents SET seen = max(seen, ?) WHERE id = ?;

-- name: drop_agent
-- An agent goes.
DELETE FROM agents WHERE id = ?;

-- name: drop_old_agents
-- Agents without a word for long, that hold nothing.
DELETE FROM agents
WHERE seen < ? AND NOT EXISTS (SELECT 1 FROM orders AS o WHERE o.agent = agents.id AND o.state IN (1, 2));

-- name: hold_pool
-- A pool, of which nobody else claims until the transaction ends.
SELECT name, kind, template, slots, paused, description FROM work_pools WHERE name = ?;

-- name: any_waiting
-- Whether any order of a pool waits and is due.
SELECT 1 FROM orders WHERE pool = ? AND state = 0 AND due <= ? LIMIT 1;

-- name: waiting_deployments
-- Deployments with orders that wait in a pool, found by one step in an index for each.
WITH RECURSIVE found (id) AS (
    SELECT (
        SELECT o.deployment
        FROM orders AS o
        WHERE o.pool = :pool AND o.state = 0 AND o.due > 0
        ORDER BY o.deployment
        LIMIT 1
    )
    UNION ALL
    SELECT (
        SELECT o.deployment
        FROM orders AS o
        WHERE o.pool = :pool AND o.state = 0 AND o.due > 0 AND o.deployment > found.id
        ORDER BY o.deployment
        LIMIT 1
    )
    FROM found
    WHERE found.id IS NOT NULL
)
SELECT d.id, d.labels, d.slots, d.paused FROM found JOIN deployments AS d ON d.id = found.id;

-- name: held
-- How many claimed and begun orders hold slots, by pool, queue, deployment and agent.
SELECT pool, queue, deployment, agent, count(*)
FROM orders
WHERE state IN (1, 2) AND lent = 0
GROUP BY pool, queue, deployment, agent;

-- name: there
-- Agents of a pool with a recent word, and how many orders each may have.
SELECT id, capacity FROM agents WHERE pool = ? AND seen >= ?;

-- name: first_waiting
-- The first orders of each queue of a pool that wait and are due.
SELECT o.run, o.deployment, o.queue, o.priority, o.due
FROM work_queues AS q
CROSS JOIN orders AS o
WHERE q.pool = :pool AND o.run IN (
    SELECT w.run
    FROM orders AS w
    WHERE w.pool = :pool AND w.queue = q.name AND w.state = 0 AND w.due <= :now
    ORDER BY w.priority DESC, w.due, w.run
    LIMIT :limit
)
ORDER BY o.queue, o.priority DESC, o.due, o.run;

-- name: first_waiting_of
-- The same of some queues and some deployments (JSON lists) alone.
SELECT o.run, o.deployment, o.queue, o.priority, o.due
FROM work_queues AS q
CROSS JOIN orders AS o
WHERE q.pool = :pool AND q.name IN (SELECT value FROM json_each(:queues)) AND o.run IN (
    SELECT w.run
    FROM orders AS w
    WHERE w.pool = :pool AND w.queue = q.name AND w.state = 0 AND w.due <= :now
        AND w.deployment || '' IN (SELECT value FROM json_each(:deployments))
    ORDER BY w.priority DESC, w.due, w.run
    LIMIT :limit
)
ORDER BY o.queue, o.priority DESC, o.due, o.run;

-- name: claim_orders
-- An agent has these orders (a JSON list) from now on, with a token that nobody had before. The state stands so that no
-- planner reads the index of all that wait.
UPDATE orders
SET state = 1, agent = :agent, kind = :kind, lease_until = :until, launches = launches + 1, claimed = :now,
    token = max(token, (SELECT r.token FROM flow_runs AS r WHERE r.id = run)) + 1, handle = '', phase = '', driver = '',
    reason = '', cancel_by = NULL, lent = 0
WHERE run IN (SELECT value FROM json_each(:runs)) AND state + 0 = 0 AND pool || '' = :pool;

-- name: deployments_of_runs
-- The deployments of some runs (a JSON list).
SELECT d.id, d.flow, d.name, d.revision, d.content_hash, d.idempotency_key, d.project, d.pool, d.queue, d.labels, d.tags,
    d.slots, d.collision, d.recover, d.expire_after, d.paused, d.document, d.created, d.updated
FROM deployments AS d
WHERE d.id IN (SELECT o.deployment FROM orders AS o WHERE o.run IN (SELECT value FROM json_each(?)));

-- name: orders_of_agent
-- Orders that an agent has.
SELECT run, token, state, cancel_by, phase, lent FROM orders WHERE agent = ? AND state IN (1, 2) ORDER BY claimed, run;

-- name: renew_claims
-- The claims of an agent hold for longer: those that it names (a JSON list of "run/token"), and new ones: an answer may
-- be under way still. A claim that it is done with, as after a restore of the records, is over with its lease.
UPDATE orders
SET lease_until = :until
WHERE agent = :agent AND state = 1
    AND (abs(:now - claimed) < :lease OR run || '/' || token IN (SELECT value FROM json_each(:held)));

-- name: hear_of_order
-- What the agent of an order tells of its job.
UPDATE orders SET phase = :phase, handle = CASE WHEN :handle = '' THEN handle ELSE :handle END, reason = :reason
WHERE run = :run AND token = :token
    AND (phase <> :phase OR reason <> :reason OR (handle <> :handle AND :handle <> ''));

-- name: orphans
-- Begun orders of a pool that agents have left, and the hosts of their drivers.
SELECT o.run, o.queue, o.deployment, d.labels, o.kind, r.host
FROM orders AS o
JOIN flow_runs AS r ON r.id = o.run
JOIN deployments AS d ON d.id = o.deployment
LEFT JOIN agents AS a ON a.id = o.agent
WHERE o.state IN (1, 2) AND o.pool = :pool AND o.state = 2 AND o.phase <> 'ended' AND o.agent <> :agent AND (a.id IS NULL OR a.seen < :since);

-- name: adopt
-- A begun order has another agent from now on, if it still has the one that is gone.
UPDATE orders
SET agent = :agent
WHERE run = :run AND state = 2
    AND NOT EXISTS (SELECT 1 FROM agents AS a WHERE a.id = orders.agent AND a.seen >= :since);

-- name: begin_order
-- A claimed order has a driver from now on; launches are counted anew after it.
UPDATE orders SET state = 2, begun = :now, driver = :driver, launches = 0, reason = '', cancel_by = NULL
WHERE run = :run AND state = 1 AND token = :token;

-- name: lend_order
-- A begun order lends its slots, or has them again.
UPDATE orders SET lent = :lent WHERE run = :run AND token = :token AND state = 2;

-- name: begin_run
-- The driver that begins a run, and its token: rows of earlier ones are refused from now on.
UPDATE flow_runs
SET token = :token, pid = :pid, pid_started = :pid_started, host = :host, heartbeat = max(heartbeat, :now),
    incarnation = :incarnation
WHERE id = :run;

-- name: tags_of_run
-- The tags of a run.
SELECT tags FROM flow_runs WHERE id = ?;
