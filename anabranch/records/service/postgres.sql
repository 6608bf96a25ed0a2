-- Queries that PostgreSQL needs in another form: rows are locked one by one there, and a list that depends on a row is
-- a LATERAL one.

-- name: lock_deployment
-- The deployment of a flow and a name; nobody else changes it until the transaction ends.
SELECT id, flow, name, revision, content_hash, idempotency_key, project, pool, queue, labels, tags, slots, collision,
    recover, expire_after, paused, document, created, updated
FROM deployments
WHERE flow = ? AND name = ?
FOR UPDATE;

-- name: lock_named_schedule
-- The schedule of a deployment and a slug; nobody else changes it until the transaction ends.
SELECT id, deployment, slug, spec, declared_active, user_active, ticks_until, next_tick, parameters
FROM schedules
WHERE deployment = ? AND slug = ?
FOR UPDATE;

-- name: lock_schedules
-- The schedules of these ids, in the order of locks; nobody else changes them until the transaction ends.
SELECT id, deployment, slug, spec, declared_active, user_active, ticks_until, next_tick, parameters
FROM schedules
WHERE id IN (SELECT value FROM json_each(?))
ORDER BY id
FOR UPDATE;

-- name: hold_pool
-- A pool, of which nobody else claims until the transaction ends.
SELECT name, kind, template, slots, paused, description FROM work_pools WHERE name = ? FOR UPDATE;

-- name: lock_order
-- An order and its run as they stand; nobody else moves the order until the transaction ends.
SELECT o.run, o.pool, o.deployment, o.state, o.agent, o.token, o.lease_until, o.due, o.claimed, o.begun, o.cancel_by,
    o.driver, o.phase, o.reason, o.launches, o.recoveries, r.state, r.message, r.token, r.heartbeat, r.attempt,
    r.started, r.name, d.recover, d.expire_after
FROM orders AS o
JOIN flow_runs AS r ON r.id = o.run
LEFT JOIN deployments AS d ON d.id = o.deployment
WHERE o.run = ?
FOR UPDATE OF o;

-- name: first_waiting
-- The first orders of each queue of a pool that wait and are due.
SELECT o.run, o.deployment, o.queue, o.priority, o.due
FROM work_queues AS q
CROSS JOIN LATERAL (
    SELECT w.run, w.deployment, w.queue, w.priority, w.due
    FROM orders AS w
    WHERE w.pool = :pool AND w.queue = q.name AND w.state = 0 AND w.due <= :now
    ORDER BY w.priority DESC, w.due, w.run
    LIMIT :limit
) AS o
WHERE q.pool = :pool
ORDER BY o.queue, o.priority DESC, o.due, o.run;

-- name: first_waiting_of
-- The same of some queues and some deployments (JSON lists) alone.
SELECT o.run, o.deployment, o.queue, o.priority, o.due
FROM work_queues AS q
CROSS JOIN LATERAL (
    SELECT w.run, w.deployment, w.queue, w.priority, w.due
    FROM orders AS w
    WHERE w.pool = :pool AND w.queue = q.name AND w.state = 0 AND w.due <= :now
        AND w.deployment || '' IN (SELECT value FROM json_each(:deployments))
    ORDER BY w.priority DESC, w.due, w.run
    LIMIT :limit
) AS o
WHERE q.pool = :pool AND q.name IN (SELECT value FROM json_each(:queues))
ORDER BY o.queue, o.priority DESC, o.due, o.run;
