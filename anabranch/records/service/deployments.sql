-- Deployments, their revisions, projects.

-- name: deployment_by_id
-- The deployment of an id.
SELECT id, flow, name, revision, content_hash, idempotency_key, project, pool, queue, labels, tags, slots, collision,
    recover, expire_after, paused, document, created, updated
FROM deployments
WHERE id = ?;

-- name: deployments_of_ids
-- Some deployments (a JSON list).
SELECT id, flow, name, revision, content_hash, idempotency_key, project, pool, queue, labels, tags, slots, collision,
    recover, expire_after, paused, document, created, updated
FROM deployments
WHERE id IN (SELECT value FROM json_each(?));

-- name: deployment_by_name
-- The deployment of a flow and a name.
SELECT id, flow, name, revision, content_hash, idempotency_key, project, pool, queue, labels, tags, slots, collision,
    recover, expire_after, paused, document, created, updated
FROM deployments
WHERE flow = ? AND name = ?;

-- name: lock_deployment
-- The deployment of a flow and a name; nobody else changes it until the transaction ends.
SELECT id, flow, name, revision, content_hash, idempotency_key, project, pool, queue, labels, tags, slots, collision,
    recover, expire_after, paused, document, created, updated
FROM deployments
WHERE flow = ? AND name = ?;

-- name: deployments
-- Deployments by flow and name, behind one of them, perhaps of one flow or project.
SELECT id, flow, name, revision, content_hash, idempotency_key, project, pool, queue, labels, tags, slots, collision,
    recover, expire_after, paused, document, created, updated
FROM deployments
WHERE (flow, name) > (:after_flow, :after_name) AND (:flow = '' OR flow = :flow)
    AND (:project = '' OR project = :project)
ORDER BY flow, name
LIMIT :limit;

-- name: deployment_names
-- What people may have meant.
SELECT flow || '/' || name FROM deployments ORDER BY updated DESC LIMIT 1000;

-- name: enter_deployment
-- A deployment where there is none of this flow and name.
INSERT INTO deployments (id, flow, name, revision, content_hash, idempotency_key, project, pool, queue, labels, tags,
    slots, collision, recover, expire_after, paused, document, created, updated)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (flow, name) DO NOTHING;

-- name: change_deployment
-- A deployment as it is to be.
UPDATE deployments
SET id = ?, flow = ?, name = ?, revision = ?, content_hash = ?, idempotency_key = ?, project = ?, pool = ?, queue = ?,
    labels = ?, tags = ?, slots = ?, collision = ?, recover = ?, expire_after = ?, paused = ?, document = ?,
    created = ?, updated = ?
WHERE id = ?;

-- name: pause_deployment
-- A deployment is paused, or goes on.
UPDATE deployments SET paused = :paused WHERE id = :id AND paused <> :paused;

-- name: drop_deployment
-- A deployment goes.
DELETE FROM deployments WHERE id = ?;

-- name: add_revision
-- A document that a deployment has from now on.
INSERT INTO deployment_revisions (deployment, revision, document, author, at) VALUES (?, ?, ?, ?, ?);

-- name: revisions
-- The documents that a deployment has had, newest first.
SELECT deployment, revision, document, author, at
FROM deployment_revisions
WHERE deployment = ?
ORDER BY revision DESC;

-- name: drop_revisions
-- The documents of a deployment go with it.
DELETE FROM deployment_revisions WHERE deployment = ?;

-- name: waiting_pools
-- Where orders of a deployment wait.
SELECT DISTINCT pool FROM orders WHERE deployment = ? AND state = 0;

-- name: move_waiting
-- Waiting orders of a deployment go to the pool and queue that it has now; to their own queue where that is there too.
UPDATE orders
SET pool = :pool, queue = CASE
    WHEN queue <> :old_queue
        AND EXISTS (SELECT 1 FROM work_queues AS q WHERE q.pool = :pool AND q.name = orders.queue) THEN queue
    ELSE :queue
END
WHERE deployment = :id AND state = 0 AND (pool <> :pool OR (queue = :old_queue AND queue <> :queue));

-- name: put_project
-- A project as it is to be.
INSERT INTO projects (name, description, created)
VALUES (?, ?, ?)
ON CONFLICT (name) DO UPDATE SET description = excluded.description;

-- name: projects
-- All projects.
SELECT name, description, created FROM projects ORDER BY name;

-- name: project_users
-- How many deployments stand under a project.
SELECT count(*) FROM deployments WHERE project = ?;

-- name: drop_project
-- A project goes.
DELETE FROM projects WHERE name = ?;
