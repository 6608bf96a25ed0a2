-- Schedules.

-- name: schedules
-- Schedules of a deployment, or all.
SELECT id, deployment, slug, spec, declared_active, user_active, ticks_until, next_tick, parameters
FROM schedules
WHERE :deployment = '' OR deployment = :deployment
ORDER BY deployment, slug;

-- name: lock_named_schedule
-- The schedule of a deployment and a slug; nobody else changes it until the transaction ends.
SELECT id, deployment, slug, spec, declared_active, user_active, ticks_until, next_tick, parameters
FROM schedules
WHERE deployment = ? AND slug = ?;

-- name: schedules_of_ids
-- The schedules of these ids.
SELECT id, deployment, slug, spec, declared_active, user_active, ticks_until, next_tick, parameters
FROM schedules
WHERE id IN (SELECT value FROM json_each(?));

-- name: lock_schedules
-- The schedules of these ids, in the order of locks; nobody else changes them until the transaction ends.
SELECT id, deployment, slug, spec, declared_active, user_active, ticks_until, next_tick, parameters
FROM schedules
WHERE id IN (SELECT value FROM json_each(?))
ORDER BY id;

-- name: due_schedules
-- Active schedules with a tick up to a time, the earliest first; those of paused deployments wait.
SELECT s.id, s.deployment, s.slug, s.spec, s.declared_active, s.user_active, s.ticks_until, s.next_tick, s.parameters
FROM schedules AS s JOIN deployments AS d ON d.id = s.deployment
WHERE s.next_tick <= ? AND coalesce(s.user_active, s.declared_active) = 1 AND d.paused = 0
ORDER BY s.next_tick, s.id
LIMIT ?;

-- name: enter_schedule
-- A schedule where its deployment has none of the slug.
INSERT INTO schedules (id, deployment, slug, spec, declared_active, user_active, ticks_until, next_tick, parameters)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (deployment, slug) DO NOTHING;

-- name: change_schedule
-- A schedule as it is to be.
UPDATE schedules
SET id = ?, deployment = ?, slug = ?, spec = ?, declared_active = ?, user_active = ?, ticks_until = ?, next_tick = ?,
    parameters = ?
WHERE id = ?;

-- name: ticked
-- The ticks of a schedule up to a time are decided.
UPDATE schedules SET ticks_until = ?, next_tick = ? WHERE id = ?;

-- name: begin_schedules_anew
-- What the schedules of a deployment missed while it was paused is not made up for.
UPDATE schedules SET ticks_until = max(ticks_until, ?) WHERE deployment = ?;

-- name: drop_schedule
-- A schedule goes.
DELETE FROM schedules WHERE deployment = ? AND slug = ?;

-- name: drop_schedules
-- The schedules of a deployment go with it.
DELETE FROM schedules WHERE deployment = ?;
