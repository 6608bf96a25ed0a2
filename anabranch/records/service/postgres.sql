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

-- name: lock_schedule
-- The schedule of an id; nobody else changes it until the transaction ends.
SELECT id, deployment, slug, spec, declared_active, user_active, ticks_until, next_tick, parameters
FROM schedules
WHERE id = ?
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
