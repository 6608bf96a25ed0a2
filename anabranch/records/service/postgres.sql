-- Queries that PostgreSQL needs in another form: rows are locked one by one there.

-- name: lock_deployment
-- The deployment of a flow and a name; nobody else changes it until the transaction ends.
SELECT id, flow, name, revision, content_hash, idempotency_key, project, pool, queue, labels, tags, slots, collision,
    recover, expire_after, paused, document, created, updated
FROM deployments
WHERE flow = ? AND name = ?
FOR UPDATE;

-- name: schedule
-- The schedule of a deployment and a slug; nobody else changes it until the transaction ends.
SELECT id, deployment, slug, spec, declared_active, user_active, ticks_until, next_tick, parameters
FROM schedules
WHERE deployment = ? AND slug = ?
FOR UPDATE;

-- name: schedule_by_id
-- The schedule of an id; nobody else changes it until the transaction ends.
SELECT id, deployment, slug, spec, declared_active, user_active, ticks_until, next_tick, parameters
FROM schedules
WHERE id = ?
FOR UPDATE;
