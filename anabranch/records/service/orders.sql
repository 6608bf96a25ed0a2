-- Orders: made, found, moved from state to state.

-- name: enter_order
-- An order.
INSERT INTO orders (run, deployment, revision, order_key, pool, queue, priority, due, labels, parameters, job, schedule,
    author, state, agent, token, lease_until, handle, kind, launches, recoveries, reason, created, claimed, begun,
    cancel_by, driver, phase)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: enter_run
-- The flow run of an order, which has no driver yet.
INSERT INTO flow_runs (id, flow, name, state, state_name, message, created, started, ended, attempt, parent_run, version,
    runner, tags, parameters, pid, pid_started, host, heartbeat, resumable, run_key, entry, token, incarnation)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: runs_of_keys
-- The runs that have these keys, each in its deployment.
SELECT deployment, order_key, run
FROM orders
WHERE deployment IN (SELECT value FROM json_each(:deployments)) AND order_key IN (SELECT value FROM json_each(:keys));

-- name: known_orders
-- Which of these runs (a JSON list) have an order.
SELECT run FROM orders WHERE run IN (SELECT value FROM json_each(?));

-- name: taken_ids
-- Which of these ids (a JSON list) a map or a run has already.
SELECT id FROM maps WHERE id IN (SELECT value FROM json_each(:ids))
UNION ALL
SELECT id FROM flow_runs WHERE id IN (SELECT value FROM json_each(:ids));

-- name: add_state
-- A state change of a flow run.
INSERT INTO transitions (run, idx, attempt, state, state_name, message, at) VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: orders_of_runs
-- The orders of some runs (a JSON list), and the names of these; labels are those that the deployment has today.
SELECT o.run, o.deployment, o.revision, coalesce(o.order_key, ''), o.pool, o.queue, o.priority, o.due,
    coalesce(d.labels, o.labels), o.parameters, o.job, o.schedule, o.author, o.state, o.agent, o.token, o.lease_until,
    o.handle, o.kind, o.launches, o.recoveries, o.reason, o.created, o.claimed, o.begun, r.name
FROM orders AS o
JOIN flow_runs AS r ON r.id = o.run
LEFT JOIN deployments AS d ON d.id = o.deployment
WHERE o.run IN (SELECT value FROM json_each(?));

-- name: orders_by_prefix
-- Up to two runs with orders whose id begins so.
SELECT run FROM orders WHERE run >= :prefix AND run < :prefix || char(1114111) ORDER BY run LIMIT 2;

-- name: order_by_name
-- The newest run of a name that has an order.
SELECT o.run
FROM flow_runs AS r
JOIN orders AS o ON o.run = r.id
WHERE r.name = ?
ORDER BY r.created DESC, r.id DESC
LIMIT 1;

-- name: orders
-- Runs with orders, those due first in front, behind one of them, perhaps of one deployment, schedule, pool.
SELECT o.run
FROM orders AS o
WHERE (:deployment = '' OR o.deployment = :deployment) AND (:schedule = '' OR o.schedule = :schedule)
    AND (:pool = '' OR o.pool = :pool) AND (o.due, o.run) > (:due, :run)
ORDER BY o.due, o.run
LIMIT :limit;

-- name: open_orders
-- The same of those that are not done.
SELECT o.run
FROM orders AS o
WHERE o.state < 3 AND (:deployment = '' OR o.deployment = :deployment)
    AND (:schedule = '' OR o.schedule = :schedule) AND (:pool = '' OR o.pool = :pool)
    AND (o.due, o.run) > (:due, :run)
ORDER BY o.due, o.run
LIMIT :limit;

-- name: holders
-- Names of runs that hold slots of a pool, or of a deployment elsewhere, longest first.
SELECT r.name, o.pool, o.queue, o.deployment
FROM orders AS o
JOIN flow_runs AS r ON r.id = o.run
WHERE o.state IN (1, 2) AND o.lent = 0 AND (o.pool = :pool OR o.deployment = :deployment)
ORDER BY o.claimed, o.run;

-- name: lends
-- Whether the order of a run lends its slots.
SELECT lent FROM orders WHERE run = ?;

-- name: pools_of_order
-- The pool in which the order of a run is, and the one that its deployment has now.
SELECT o.pool, coalesce(d.pool, o.pool)
FROM orders AS o
LEFT JOIN deployments AS d ON d.id = o.deployment
WHERE o.run = ?;

-- name: lock_order
-- An order and its run as they stand; nobody else moves the order until the transaction ends.
SELECT o.run, o.pool, o.deployment, o.state, o.agent, o.token, o.lease_until, o.due, o.claimed, o.begun, o.cancel_by,
    o.driver, o.phase, o.reason, o.launches, o.recoveries, r.state, r.message, r.token, r.heartbeat, r.attempt,
    r.started, r.name, d.recover, d.expire_after
FROM orders AS o
JOIN flow_runs AS r ON r.id = o.run
LEFT JOIN deployments AS d ON d.id = o.deployment
WHERE o.run = ?;

-- name: move_order
-- An order is done, or waits again: where its deployment has gone to another pool, there, in the deployment's queue.
UPDATE orders
SET pool = CASE WHEN :state = 0
        THEN coalesce((SELECT d.pool FROM deployments AS d WHERE d.id = orders.deployment), pool)
        ELSE pool END,
    queue = CASE WHEN :state = 0
        THEN coalesce(
            (SELECT d.queue FROM deployments AS d WHERE d.id = orders.deployment AND d.pool <> orders.pool), queue)
        ELSE queue END,
    state = :state, due = :due, token = :token, recoveries = :recoveries, reason = :reason, lease_until = 0,
    cancel_by = NULL, driver = '', phase = '', lent = 0, handle = CASE WHEN :state = 0 THEN '' ELSE handle END
WHERE run = :run;

-- name: end_ordered_run
-- A run is over without its driver, which can write nothing of it any more.
UPDATE flow_runs
SET state = :state, state_name = :state_name, message = :message, ended = :now, token = :token
WHERE id = :run;

-- name: wait_ordered_run
-- A run waits for a driver again, and an earlier one can write nothing of it any more.
UPDATE flow_runs
SET state = :state, state_name = :state_name, message = :message, ended = NULL, token = :token, pid = 0,
    pid_started = 0, host = '', incarnation = ''
WHERE id = :run;

-- name: called_runs
-- Flow runs under way that a run's driver has called, and those that these have called: not what it has ordered.
WITH RECURSIVE called (id, attempt) AS (
    SELECT r.id, r.attempt
    FROM flow_runs AS r
    WHERE r.parent_run = ? AND r.parent_run <> '' AND r.ended IS NULL
        AND NOT EXISTS (SELECT 1 FROM orders AS o WHERE o.run = r.id)
    UNION
    SELECT r.id, r.attempt
    FROM called AS c
    JOIN flow_runs AS r ON r.parent_run = c.id
    WHERE r.parent_run <> '' AND r.ended IS NULL AND NOT EXISTS (SELECT 1 FROM orders AS o WHERE o.run = r.id)
)
SELECT id, attempt FROM called ORDER BY id;

-- name: end_called_run
-- A flow run is over with the driver of the run that called it.
UPDATE flow_runs
SET state = :state, state_name = :state_name, message = :message, ended = :now
WHERE id = :run AND ended IS NULL;

-- name: tell_ordered_run
-- The state of a run changes by the service's word; the run's driver may say otherwise.
UPDATE flow_runs SET state = :state, state_name = :state_name, message = :message WHERE id = :run;

-- name: ask_to_end
-- The driver of a run is asked to end.
INSERT INTO cancel_requests (flow_run, requested)
VALUES (?, ?)
ON CONFLICT (flow_run) DO UPDATE SET requested = excluded.requested;

-- name: no_cancel
-- Nobody asks a run to end any more.
DELETE FROM cancel_requests WHERE flow_run = ?;

-- name: end_by
-- A begun order is to be over by then.
UPDATE orders SET cancel_by = :by, reason = :reason WHERE run = :run;

-- name: waiting_of_deployment
-- Waiting orders of a deployment.
SELECT run FROM orders WHERE deployment = ? AND state = 0 ORDER BY run;

-- name: rivals
-- Orders of a deployment that hold its slots or are due, the earliest first: id, state, and whether its end is near.
SELECT run, state, cancel_by IS NOT NULL
FROM orders
WHERE deployment = :deployment AND state < 3 AND (state > 0 OR due <= :now)
ORDER BY due, run;
