-- Every query of the records but the migrations. Each begins with "-- name: <name>" and a sentence.

-- name: put_flow_run
-- A flow run as it stands now; a heartbeat never goes back.
INSERT INTO flow_runs (id, flow, name, state, state_name, message, created, started, ended, attempt, parent_run, version,
    runner, tags, parameters, pid, pid_started, host, heartbeat, resumable, run_key, entry, token,
    incarnation)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET
    flow = excluded.flow, name = excluded.name, state = excluded.state, state_name = excluded.state_name,
    message = excluded.message, created = excluded.created, started = excluded.started, ended = excluded.ended,
    attempt = excluded.attempt, parent_run = excluded.parent_run, version = excluded.version,
    runner = excluded.runner, tags = excluded.tags, parameters = excluded.parameters, pid = excluded.pid,
    pid_started = excluded.pid_started, host = excluded.host, heartbeat = max(flow_runs.heartbeat, excluded.heartbeat),
    resumable = excluded.resumable, run_key = excluded.run_key, entry = excluded.entry, token = excluded.token,
    incarnation = excluded.incarnation;

-- name: put_map
-- A map as it stands now.
INSERT INTO maps (id, flow_run, task, kind, length, created, ended, counts, parent, tags, call_key, code, superseded,
    upstreams, slots, account)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET
    flow_run = excluded.flow_run, task = excluded.task, kind = excluded.kind, length = excluded.length,
    created = excluded.created, ended = excluded.ended, counts = excluded.counts, parent = excluded.parent,
    tags = excluded.tags, call_key = excluded.call_key, code = excluded.code, superseded = excluded.superseded,
    upstreams = excluded.upstreams, slots = excluded.slots, account = excluded.account;

-- name: put_item
-- One attempt of one item as it stands now.
INSERT INTO items (map, idx, attempt, state, state_name, name, message, started, ended, worker, error_type, error_text,
    reason, details)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (map, idx, attempt) DO UPDATE SET
    state = excluded.state, state_name = excluded.state_name, name = excluded.name, message = excluded.message,
    started = excluded.started, ended = excluded.ended, worker = excluded.worker, error_type = excluded.error_type,
    error_text = excluded.error_text, reason = excluded.reason, details = excluded.details;

-- name: add_block
-- Items of a map in one blob.
INSERT INTO item_blocks (map, first, last, attempt, sealed, data) VALUES (?, ?, ?, ?, ?, ?);

-- name: add_stored
-- Where values of items lie.
INSERT INTO stored_items (map, kind, name, first, last, items, slots, digests) VALUES (?, ?, ?, ?, ?, ?, ?, ?);

-- name: stored
-- Where values of a map lie, in the order they were stored.
SELECT map, name, first, last, items, slots, digests, kind
FROM stored_items
WHERE map = ? AND kind = ?
ORDER BY id;

-- name: loose_blocks
-- Blobs of a map that wait to be merged and made small, oldest first.
SELECT id, attempt, data FROM item_blocks WHERE map = ? AND sealed = 0 ORDER BY id;

-- name: drop_loose
-- Blobs up to one whose items are in sealed ones now.
DELETE FROM item_blocks WHERE map = ? AND sealed = 0 AND id <= ?;

-- name: add_transition
-- A state change.
INSERT INTO transitions (run, idx, attempt, state, state_name, message, at) VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: add_log
-- A line logged in a run.
INSERT INTO logs (at, level, logger, message, flow_run, map, idx) VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: beat
-- A sign of life of a run's driver.
UPDATE flow_runs SET heartbeat = max(heartbeat, ?) WHERE id = ?;

-- name: flow_runs
-- Flow runs, newest first, perhaps of one flow and in some states (codes as a JSON list, or a name), made up to a time.
SELECT id, flow, name, state, state_name, message, created, started, ended, attempt, parent_run, version, runner, tags,
    parameters, pid, pid_started, host, heartbeat, resumable, run_key, entry, token,
    incarnation
FROM flow_runs
WHERE (:flow IS NULL OR flow = :flow)
    AND (:name IS NULL OR state IN (SELECT value FROM json_each(:codes)) OR lower(state_name) = lower(:name))
    AND (:until IS NULL OR created <= :until)
ORDER BY created DESC, id DESC
LIMIT :limit OFFSET :skip;

-- name: count_flow_runs
-- How many flow runs these are.
SELECT count(*)
FROM flow_runs
WHERE (:flow IS NULL OR flow = :flow)
    AND (:name IS NULL OR state IN (SELECT value FROM json_each(:codes)) OR lower(state_name) = lower(:name));

-- name: flow_run_by_id
-- The flow run of an id.
SELECT id, flow, name, state, state_name, message, created, started, ended, attempt, parent_run, version, runner, tags,
    parameters, pid, pid_started, host, heartbeat, resumable, run_key, entry, token,
    incarnation
FROM flow_runs
WHERE id = ?;

-- name: flow_run_by_prefix
-- Up to two flow runs whose id begins so: two mean that the beginning does not tell which is meant.
SELECT id, flow, name, state, state_name, message, created, started, ended, attempt, parent_run, version, runner, tags,
    parameters, pid, pid_started, host, heartbeat, resumable, run_key, entry, token,
    incarnation
FROM flow_runs
WHERE id >= :prefix AND id < :prefix || char(1114111)
LIMIT 2;

-- name: flow_run_by_name
-- The newest flow run of a name.
SELECT id, flow, name, state, state_name, message, created, started, ended, attempt, parent_run, version, runner, tags,
    parameters, pid, pid_started, host, heartbeat, resumable, run_key, entry, token,
    incarnation
FROM flow_runs
WHERE name = ?
ORDER BY created DESC, id DESC
LIMIT 1;

-- name: subflow
-- The newest run that a flow run made by a call.
SELECT id, flow, name, state, state_name, message, created, started, ended, attempt, parent_run, version, runner, tags,
    parameters, pid, pid_started, host, heartbeat, resumable, run_key, entry, token,
    incarnation
FROM flow_runs
WHERE parent_run = ? AND run_key = ?
ORDER BY created DESC, id DESC
LIMIT 1;

-- name: subflows
-- The runs that a flow run made, the first ones first.
SELECT id, flow, name, state, state_name, message, created, started, ended, attempt, parent_run, version, runner, tags,
    parameters, pid, pid_started, host, heartbeat, resumable, run_key, entry, token,
    incarnation
FROM flow_runs
WHERE parent_run = ? AND parent_run <> ''
ORDER BY created, id
LIMIT ?;

-- name: keyed_run
-- The newest run of a flow with the user's key.
SELECT id, flow, name, state, state_name, message, created, started, ended, attempt, parent_run, version, runner, tags,
    parameters, pid, pid_started, host, heartbeat, resumable, run_key, entry, token,
    incarnation
FROM flow_runs
WHERE flow = ? AND run_key = ? AND parent_run = ''
ORDER BY created DESC, id DESC
LIMIT 1;

-- name: claim
-- Make another process the driver of a run, if nobody else has done so meanwhile.
UPDATE flow_runs
SET token = token + 1, pid = :pid, pid_started = :pid_started, host = :host, heartbeat = :heartbeat,
    incarnation = :incarnation
WHERE id = :id AND token = :token;

-- name: tokens
-- Who may write of these runs (a JSON list).
SELECT id, token FROM flow_runs WHERE id IN (SELECT value FROM json_each(?));

-- name: token_of
-- The highest token of the runs that an id is of, as a run's or as a map's.
SELECT coalesce(max(token), 0) FROM flow_runs WHERE id = ? OR id IN (SELECT flow_run FROM maps WHERE id = ?);

-- name: run_ids
-- All flow runs.
SELECT id FROM flow_runs;

-- name: end_turn
-- The pool of an order that ends has a free place: agents that wait there look again.
UPDATE work_pools SET turn = turn + 1
WHERE name IN (SELECT pool FROM orders WHERE run = ? AND token = ? AND state IN (1, 2));

-- name: end_order
-- The order of a run that its driver has ended, unless another driver has the order now.
-- It is claimed alone where the records were restored from a backup that was made before the driver began.
UPDATE orders SET state = 3, cancel_by = NULL WHERE run = ? AND token = ? AND state IN (1, 2);

-- name: maps
-- Maps of a flow run in the order they were begun.
SELECT id, flow_run, task, kind, length, created, ended, counts, parent, tags, call_key, code, superseded,
    upstreams, slots, account
FROM maps
WHERE flow_run = ?
ORDER BY created, rowid;

-- name: next_index
-- Where from an index on the next blob or row of a map begins.
SELECT min(idx) FROM (
    SELECT min(first) AS idx FROM item_blocks WHERE map = :map AND first >= :low
    UNION ALL
    SELECT min(idx) FROM items WHERE map = :map AND idx >= :low
) AS found;

-- name: blocks_of_range
-- Blobs that overlap [low, high), the ones that count most last.
SELECT attempt, data
FROM item_blocks
WHERE map = :map AND first < :high AND last >= :low
ORDER BY attempt, id;

-- name: blocks_after
-- Blobs of a map that are newer than one, oldest first.
SELECT id, attempt, data FROM item_blocks WHERE map = ? AND id > ? ORDER BY id;

-- name: left_stamp
-- It changes with what left the happy path of a map.
SELECT count(*), CAST(coalesce(sum(state), 0) AS bigint) FROM items WHERE map = ?;

-- name: items_of_range
-- Attempts of items in [low, high), the last ones last.
SELECT map, idx, attempt, state, state_name, name, message, started, ended, worker, error_type, error_text, reason,
    details
FROM items
WHERE map = :map AND idx >= :low AND idx < :high
ORDER BY attempt;

-- name: last_attempt
-- The highest attempt that a row tells of.
SELECT max(attempt) FROM items WHERE map = ?;

-- name: left_once
-- Why items of a map left the happy path, in groups; right where no item has more than one row.
SELECT map, reason, state, 0, count(*), min(idx) FROM items WHERE map = ? AND state <> ? GROUP BY map, reason, state;

-- name: left
-- What left the happy path of a map: each attempt that did, and why, the last ones last.
SELECT idx, attempt, state, reason FROM items WHERE map = ? ORDER BY idx, attempt;

-- name: retried_blocks
-- Blobs of later attempts in a flow run's maps: they may overrule a failure.
SELECT b.map, b.attempt, b.data
FROM maps AS m
JOIN item_blocks AS b ON b.map = m.id AND b.attempt > 1
WHERE m.flow_run = ?;

-- name: retried_blocks_of
-- The same of one map.
SELECT attempt, data FROM item_blocks WHERE map = ? AND attempt > 1;

-- name: failures
-- Failed items of a flow run (states as a JSON list) in groups, most frequent first; blobs may overrule some.
SELECT m.task, i.error_type, i.message, count(*) AS times, min(i.idx)
FROM maps AS m
JOIN items AS i ON i.map = m.id
WHERE m.flow_run = :flow_run AND m.superseded = ''
    AND i.state IN (SELECT value FROM json_each(:states))
    AND NOT EXISTS (SELECT 1 FROM items AS n WHERE n.map = i.map AND n.idx = i.idx AND n.attempt > i.attempt)
GROUP BY m.task, i.error_type, i.message
ORDER BY times DESC, m.task, i.error_type, i.message
LIMIT :limit;

-- name: failed
-- The same by task and type only, whatever the messages are.
SELECT m.task, i.error_type, count(*) AS times, min(i.idx)
FROM maps AS m
JOIN items AS i ON i.map = m.id
WHERE m.flow_run = :flow_run AND m.superseded = ''
    AND i.state IN (SELECT value FROM json_each(:states))
    AND NOT EXISTS (SELECT 1 FROM items AS n WHERE n.map = i.map AND n.idx = i.idx AND n.attempt > i.attempt)
GROUP BY m.task, i.error_type
ORDER BY times DESC, m.task, i.error_type;

-- name: failed_items
-- The same, one by one.
SELECT i.map, i.idx, i.attempt, m.task, i.error_type, i.message, i.idx
FROM maps AS m
JOIN items AS i ON i.map = m.id
WHERE m.flow_run = :flow_run AND m.superseded = ''
    AND i.state IN (SELECT value FROM json_each(:states))
    AND NOT EXISTS (SELECT 1 FROM items AS n WHERE n.map = i.map AND n.idx = i.idx AND n.attempt > i.attempt);

-- name: transitions
-- State changes of a run, or of one of its items, in the order they were written.
SELECT run, idx, attempt, state, state_name, message, at
FROM transitions
WHERE run = :run AND (:idx IS NULL OR idx = :idx)
ORDER BY id;

-- name: logs
-- The last lines of a flow run from a level on, perhaps up to a time, oldest first.
SELECT at, level, logger, message, flow_run, map, idx
FROM (
    SELECT id, at, level, logger, message, flow_run, map, idx
    FROM logs
    WHERE flow_run = :flow_run AND level >= :level AND (:until IS NULL OR at <= :until)
    ORDER BY at DESC, id DESC
    LIMIT :limit OFFSET :skip
) AS found
ORDER BY at, id;

-- name: count_logs
-- How many lines there are of a flow run from a level on.
SELECT count(*) FROM logs WHERE flow_run = :flow_run AND level >= :level;

-- name: request_cancel
-- Ask for a run's end, if it is in one of these states (a JSON list).
INSERT INTO cancel_requests (flow_run, requested)
SELECT id, :now FROM flow_runs WHERE id = :flow_run AND state IN (SELECT value FROM json_each(:open))
ON CONFLICT (flow_run) DO UPDATE SET requested = excluded.requested;

-- name: cancel_requested
-- Which of these runs (a JSON list) are to be cancelled.
SELECT flow_run FROM cancel_requests WHERE flow_run IN (SELECT value FROM json_each(?));

-- name: open_runs
-- Runs that have not ended, and what is known of their drivers; those with an order are the service's to end.
SELECT id, attempt, pid, pid_started, host, max(heartbeat, created, coalesce(started, 0))
FROM flow_runs AS r
WHERE state IN (SELECT value FROM json_each(?))
    AND NOT EXISTS (SELECT 1 FROM orders AS o WHERE o.run = r.id AND o.state < 3);

-- name: ordered
-- Where the order of a run is that is not done.
SELECT pool FROM orders WHERE run = ? AND state < 3;

-- name: end_run
-- End a run that nobody drives, unless it has ended meanwhile or its driver gave a sign of life.
-- The run of an open order is its agent's to judge: the last rows of a driver that is gone may be on their way.
UPDATE flow_runs
SET state = :state, state_name = :state_name, message = :message, ended = :now
WHERE id = :id AND attempt = :attempt AND pid = :pid AND pid_started = :pid_started
    AND max(heartbeat, created, coalesce(started, 0)) = :seen
    AND state IN (SELECT value FROM json_each(:open))
    AND NOT EXISTS (SELECT 1 FROM orders AS o WHERE o.run = flow_runs.id AND o.state < 3);

-- name: limits
-- All limits, by name.
SELECT name, slots, rate, active FROM limits ORDER BY name;

-- name: put_limit
-- Make or change a limit.
INSERT INTO limits (name, slots, rate, active, next_start, turn) VALUES (?, ?, ?, ?, 0, 0)
ON CONFLICT (name) DO UPDATE SET slots = excluded.slots, rate = excluded.rate, active = excluded.active;

-- name: drop_limit
-- Forget a limit.
DELETE FROM limits WHERE name = ?;

-- name: lock_limit
-- Who changes leases of a limit does this first: others wait until it is done.
UPDATE limits SET turn = turn + 1 WHERE name = ?;

-- name: leases
-- All leases, the longest waiting first.
SELECT name, holder, host, pid, pid_started, slots, wanted, unit, since, renewed, ticks
FROM limit_leases
ORDER BY since, holder;

-- name: put_lease
-- A lease as it stands now.
INSERT INTO limit_leases (name, holder, host, pid, pid_started, slots, wanted, unit, since, renewed, ticks)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (name, holder) DO UPDATE SET
    slots = excluded.slots, wanted = excluded.wanted, unit = excluded.unit, since = excluded.since,
    renewed = excluded.renewed, ticks = excluded.ticks;

-- name: drop_lease
-- A lease that is over.
DELETE FROM limit_leases WHERE name = ? AND holder = ?;

-- name: drop_leases
-- All leases of a limit.
DELETE FROM limit_leases WHERE name = ?;

-- name: leave_leases
-- All leases of a holder.
DELETE FROM limit_leases WHERE holder = ?;

-- name: renew_leases
-- A sign of life for all leases of a holder.
UPDATE limit_leases SET renewed = ?, ticks = ? WHERE holder = ?;

-- name: next_start
-- A limit's rate, and before when nothing may start.
SELECT rate, next_start FROM limits WHERE name = ? AND active = 1;

-- name: put_next_start
-- Before then nothing more may start.
UPDATE limits SET next_start = ? WHERE name = ?;

-- name: take_chore
-- Take a chore on, unless somebody did so lately; a time to come is that of a clock that was wrong.
INSERT INTO chores (name, at) VALUES (:name, :now)
ON CONFLICT (name) DO UPDATE SET at = excluded.at WHERE chores.at <= :lately OR chores.at > :now;

-- name: old_runs
-- The oldest runs that ended before a time; none that a living run called, which may still ask for it.
SELECT r.id
FROM flow_runs AS r
WHERE r.created < :before AND r.ended < :before AND r.heartbeat < :before
    AND r.state NOT IN (SELECT value FROM json_each(:open))
    AND NOT EXISTS (
        SELECT 1 FROM flow_runs AS p WHERE p.id = r.parent_run AND p.state IN (SELECT value FROM json_each(:open))
    )
ORDER BY r.created
LIMIT :limit;

-- name: old_stray
-- The oldest map of no flow run (programs map outside of flows, too) that was begun before a time.
SELECT id FROM maps WHERE flow_run = '' AND created < :before ORDER BY created LIMIT 1;

-- name: any_map
-- A map of a flow run.
SELECT id FROM maps WHERE flow_run = ? LIMIT 1;

-- name: bar_run
-- Let nobody resume a run that is about to be deleted.
UPDATE flow_runs SET resumable = 0 WHERE id = ?;

-- name: drop_items
-- Delete some rows of a map's items.
DELETE FROM items WHERE rowid IN (SELECT rowid FROM items WHERE map = :owner LIMIT :rows);

-- name: any_block
-- A blob of a map, if there is one.
SELECT id FROM item_blocks WHERE map = ? LIMIT 1;

-- name: drop_blocks
-- Delete some of a map's blobs.
DELETE FROM item_blocks WHERE rowid IN (SELECT rowid FROM item_blocks WHERE map = :owner LIMIT :rows);

-- name: drop_stored
-- Delete some of what was stored of a map or a run.
DELETE FROM stored_items WHERE rowid IN (SELECT rowid FROM stored_items WHERE map = :owner LIMIT :rows);

-- name: drop_transitions
-- Delete some state changes of a map's items or of a run.
DELETE FROM transitions WHERE rowid IN (SELECT rowid FROM transitions WHERE run = :owner LIMIT :rows);

-- name: drop_logs
-- Delete some of a flow run's lines.
DELETE FROM logs WHERE rowid IN (SELECT rowid FROM logs WHERE flow_run = :owner LIMIT :rows);

-- name: drop_old_logs
-- Delete some old lines that no run logged.
DELETE FROM logs WHERE rowid IN (SELECT rowid FROM logs WHERE flow_run = '' AND at < :before LIMIT :rows);

-- name: drop_old_audit
-- Delete some old lines of the audit.
DELETE FROM audit WHERE rowid IN (SELECT rowid FROM audit WHERE at < :before LIMIT :rows);

-- name: drop_old_writers
-- Delete the numbers of some drivers that have sent nothing since a time.
DELETE FROM ingest_writers WHERE rowid IN (SELECT rowid FROM ingest_writers WHERE seen < :before LIMIT :rows);

-- name: drop_map
-- Delete a map of which nothing else is left.
DELETE FROM maps WHERE id = ?;

-- name: drop_order
-- Delete the order of a run: its key may be ordered anew.
DELETE FROM orders WHERE run = ?;

-- name: drop_cancel
-- Forget that a run was to be cancelled.
DELETE FROM cancel_requests WHERE flow_run = ?;

-- name: drop_run
-- Delete a run of which nothing else is left.
DELETE FROM flow_runs WHERE id = ?;

-- name: stray_maps
-- How many maps are of a flow run that is not there.
SELECT count(*) FROM maps AS m
WHERE m.flow_run <> '' AND NOT EXISTS (SELECT 1 FROM flow_runs AS r WHERE r.id = m.flow_run);

-- name: stray_items
-- How many items' rows are of a map that is not there.
SELECT count(*) FROM items AS i WHERE NOT EXISTS (SELECT 1 FROM maps AS m WHERE m.id = i.map);

-- name: stray_blocks
-- How many blobs are of a map that is not there.
SELECT count(*) FROM item_blocks AS b WHERE NOT EXISTS (SELECT 1 FROM maps AS m WHERE m.id = b.map);

-- name: stray_stored
-- How many rows of stored values are of nothing that is there.
SELECT count(*) FROM stored_items AS s
WHERE NOT EXISTS (SELECT 1 FROM maps AS m WHERE m.id = s.map)
    AND NOT EXISTS (SELECT 1 FROM flow_runs AS r WHERE r.id = s.map);

-- name: all_blocks
-- Blobs from an id on, some at a time.
SELECT id, map, data FROM item_blocks WHERE id > ? ORDER BY id LIMIT ?;

-- name: all_stored
-- Rows of stored values from an id on, some at a time.
SELECT id, map, first, last, items, slots, digests FROM stored_items WHERE id > ? ORDER BY id LIMIT ?;

-- name: loose_maps
-- Maps that have ended and have blobs that nobody has sealed.
SELECT DISTINCT b.map FROM item_blocks AS b JOIN maps AS m ON m.id = b.map WHERE b.sealed = 0 AND m.ended IS NOT NULL;

-- name: advance_writer
-- Note that a driver's frame of a number is in the record, if the one before it is: else nothing changes.
INSERT INTO ingest_writers (writer, seq, seen)
SELECT :writer, :seq, :now WHERE :seq = 1 OR EXISTS (SELECT 1 FROM ingest_writers WHERE writer = :writer)
ON CONFLICT (writer) DO UPDATE SET seq = excluded.seq, seen = excluded.seen
WHERE ingest_writers.seq = excluded.seq - 1;

-- name: last_of_writer
-- The number of a driver's last frame that is in the record.
SELECT seq FROM ingest_writers WHERE writer = ?;

-- name: driven_by
-- As of `owner_of`; a run that was ordered has a driver of its own, though another run has called it.
SELECT flow_run FROM maps WHERE id = ?
UNION ALL
SELECT CASE WHEN EXISTS (SELECT 1 FROM orders AS o WHERE o.run = r.id) THEN NULL ELSE r.parent_run END
FROM flow_runs AS r
WHERE r.id = ?;

-- name: fellow_run
-- Whether a run was ordered by another one, or is of its deployment; no order makes a map one of these.
SELECT 1
FROM orders AS o, orders AS mine
WHERE o.run = :id AND mine.run = :run AND (o.author = :author OR o.deployment = mine.deployment)
    AND NOT EXISTS (SELECT 1 FROM maps WHERE id = :id);

-- name: processes_of_holder
-- The processes that leases of a holder's token name.
SELECT DISTINCT host, pid, pid_started FROM limit_leases WHERE holder = ?;

-- name: owner_of
-- The run that a map is of, or the run or task run that called a run.
SELECT flow_run FROM maps WHERE id = ? UNION ALL SELECT parent_run FROM flow_runs WHERE id = ?;
