-- Queries that PostgreSQL needs in another form: rows are locked one by one there.

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

-- name: claim_orders
-- An agent has these orders (a JSON list) from now on, with a token that nobody had; found by their ids one by one.
UPDATE orders
SET state = 1, agent = :agent, kind = :kind, lease_until = :until, launches = launches + 1, claimed = :now,
    token = max(token, (SELECT r.token FROM flow_runs AS r WHERE r.id = run)) + 1, handle = '', phase = '', driver = '',
    reason = '', cancel_by = NULL
WHERE run = ANY (ARRAY(SELECT value FROM json_each(:runs))) AND state = 0;

-- name: orders_of_runs
-- The orders of some runs (a JSON list), and the names of these; found by their ids one by one.
SELECT o.run, o.deployment, o.revision, coalesce(o.order_key, ''), o.pool, o.queue, o.priority, o.due,
    coalesce(d.labels, o.labels), o.parameters, o.job, o.schedule, o.author, o.state, o.agent, o.token, o.lease_until,
    o.handle, o.kind, o.launches, o.recoveries, o.reason, o.created, o.claimed, o.begun, r.name
FROM orders AS o
JOIN flow_runs AS r ON r.id = o.run
LEFT JOIN deployments AS d ON d.id = o.deployment
WHERE o.run = ANY (ARRAY(SELECT value FROM json_each(?)));

-- name: deployments_of
-- Some deployments (a JSON list), found by their ids one by one.
SELECT id, flow, name, revision, content_hash, idempotency_key, project, pool, queue, labels, tags, slots, collision,
    recover, expire_after, paused, document, created, updated
FROM deployments
WHERE id = ANY (ARRAY(SELECT value FROM json_each(?)));

-- name: first_waiting
-- The first orders of a queue that wait and are due, of some deployments (a JSON list) alone; read in their order.
SELECT run, deployment, queue, priority, due
FROM orders
WHERE pool = :pool AND queue = :queue AND state = 0 AND due <= :now
    AND deployment || '' = ANY (ARRAY(SELECT value FROM json_each(:deployments)))
ORDER BY priority DESC, due, run
LIMIT :limit;
