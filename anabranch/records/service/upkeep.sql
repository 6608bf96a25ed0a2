-- What reaping looks for; each of these is looked at again, locked, before it changes.
-- A condition of an index stands in its own words beside a narrower one: SQLite takes the index for no other.

-- name: lost_claims
-- Claims whose agent has not said a word in time, by a clock that may have been set back.
SELECT run
FROM orders
WHERE state IN (1, 2) AND state = 1 AND (lease_until < :now OR lease_until > :now + :longest)
ORDER BY lease_until
LIMIT :limit;

-- name: suspects
-- Begun orders whose run has ended, or whose driver was silent for long; states (a JSON list) are those not ended.
SELECT o.run
FROM orders AS o
JOIN flow_runs AS r ON r.id = o.run
WHERE o.state IN (1, 2) AND o.state = 2
    AND (r.state NOT IN (SELECT value FROM json_each(:open)) OR max(o.begun, r.heartbeat) < :silent
        OR o.cancel_by < :now)
ORDER BY o.begun
LIMIT :limit;

-- name: seen_agent
-- The last word of an agent.
SELECT seen FROM agents WHERE id = ?;

-- name: expired
-- Waiting orders for which it is too late.
SELECT o.run
FROM orders AS o
JOIN deployments AS d ON d.id = o.deployment
WHERE o.state = 0 AND o.due + d.expire_after < :now
ORDER BY o.due
LIMIT :limit;

-- name: asked_to_end
-- Runs that somebody asked to end where orders were not looked at, and when.
SELECT o.run, c.requested
FROM cancel_requests AS c
JOIN orders AS o ON o.run = c.flow_run
WHERE o.state < 3 AND o.cancel_by IS NULL
LIMIT :limit;

-- name: left_by_parents
-- Open orders of flow runs that were cancelled, where nobody has cancelled these too: they were not waited for, or the
-- driver of the flow run is gone. The joins stand in the order in which they are to be made: children that go on are few.
SELECT o.run
FROM flow_runs AS r
CROSS JOIN flow_runs AS p
CROSS JOIN orders AS o
WHERE r.parent_run <> '' AND r.ended IS NULL AND p.id = r.parent_run AND p.state = :cancelled
    AND o.run = r.id AND o.state < 3 AND o.cancel_by IS NULL
LIMIT :limit;

-- name: late
-- Waiting orders that were due a while ago, and of which nobody was told so.
SELECT o.run
FROM orders AS o
JOIN flow_runs AS r ON r.id = o.run
WHERE o.state = 0 AND o.due < :before AND r.state_name <> 'Late'
ORDER BY o.due
LIMIT :limit;

-- name: crowded
-- Deployments with orders that are due, and a rule for when there are more than they have slots.
SELECT DISTINCT d.id, o.pool
FROM deployments AS d
JOIN orders AS o ON o.deployment = d.id AND o.state < 3
WHERE d.collision <> 'enqueue' AND d.slots IS NOT NULL AND o.state = 0 AND o.due <= :now;

-- name: take_lease
-- A named lease for a holder, unless another one has it still; a time far ahead is that of a clock that was wrong.
INSERT INTO service_leases (name, holder, until)
VALUES (:name, :holder, :until)
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until
WHERE service_leases.holder = excluded.holder OR service_leases.until <= :now
    OR service_leases.until > :now + :longest;
