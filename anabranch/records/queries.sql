-- Every query of the records but the migrations. Each begins with "-- name: <name>" and a sentence.

-- name: put_flow_run
-- A flow run as it stands now; a heartbeat never goes back.
INSERT INTO flow_runs (id, flow, name, state, state_name, message, created, started, ended, attempt, parent_run, version,
    runner, tags, parameters, pid, pid_started, host, heartbeat)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET
    flow = excluded.flow, name = excluded.name, state = excluded.state, state_name = excluded.state_name,
    message = excluded.message, created = excluded.created, started = excluded.started, ended = excluded.ended,
    attempt = excluded.attempt, parent_run = excluded.parent_run, version = excluded.version,
    runner = excluded.runner, tags = excluded.tags, parameters = excluded.parameters, pid = excluded.pid,
    pid_started = excluded.pid_started, host = excluded.host, heartbeat = max(heartbeat, excluded.heartbeat);

-- name: put_map
-- A map as it stands now.
INSERT INTO maps (id, flow_run, task, kind, length, created, ended, counts, parent, tags)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET
    flow_run = excluded.flow_run, task = excluded.task, kind = excluded.kind, length = excluded.length,
    created = excluded.created, ended = excluded.ended, counts = excluded.counts, parent = excluded.parent,
    tags = excluded.tags;

-- name: put_item
-- One attempt of one item as it stands now.
INSERT INTO items (map, idx, attempt, state, state_name, name, message, started, ended, worker, error_type, error_text)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (map, idx, attempt) DO UPDATE SET
    state = excluded.state, state_name = excluded.state_name, name = excluded.name, message = excluded.message,
    started = excluded.started, ended = excluded.ended, worker = excluded.worker, error_type = excluded.error_type,
    error_text = excluded.error_text;

-- name: add_block
-- Items of a map in one blob.
INSERT INTO item_blocks (map, first, last, attempt, sealed, data) VALUES (?, ?, ?, ?, ?, ?);

-- name: loose_blocks
-- Blobs of a map that wait to be merged and made small, oldest first.
SELECT id, attempt, data FROM item_blocks WHERE map = ? AND sealed = 0 ORDER BY id;

-- name: drop_block
-- A blob whose items are in a sealed one now.
DELETE FROM item_blocks WHERE id = ?;

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
-- Flow runs, newest first, perhaps of one flow and in some states (codes as a JSON list, or a name).
SELECT id, flow, name, state, state_name, message, created, started, ended, attempt, parent_run, version, runner, tags,
    parameters, pid, pid_started, host, heartbeat
FROM flow_runs
WHERE (:flow IS NULL OR flow = :flow)
    AND (:name IS NULL OR state IN (SELECT value FROM json_each(:codes)) OR state_name = :name COLLATE NOCASE)
ORDER BY created DESC, id DESC
LIMIT :limit;

-- name: flow_run_by_id
-- The flow run of an id.
SELECT id, flow, name, state, state_name, message, created, started, ended, attempt, parent_run, version, runner, tags,
    parameters, pid, pid_started, host, heartbeat
FROM flow_runs
WHERE id = ?;

-- name: flow_run_by_prefix
-- Up to two flow runs whose id begins so: two mean that the beginning does not tell which is meant.
SELECT id, flow, name, state, state_name, message, created, started, ended, attempt, parent_run, version, runner, tags,
    parameters, pid, pid_started, host, heartbeat
FROM flow_runs
WHERE id >= :prefix AND id < :prefix || char(1114111)
LIMIT 2;

-- name: flow_run_by_name
-- The newest flow run of a name.
SELECT id, flow, name, state, state_name, message, created, started, ended, attempt, parent_run, version, runner, tags,
    parameters, pid, pid_started, host, heartbeat
FROM flow_runs
WHERE name = ?
ORDER BY created DESC, id DESC
LIMIT 1;

-- name: maps
-- Maps of a flow run in the order they were begun.
SELECT id, flow_run, task, kind, length, created, ended, counts, parent, tags
FROM maps
WHERE flow_run = ?
ORDER BY created, rowid;

-- name: next_index
-- Where from an index on the next blob or row of a map begins.
SELECT min(idx) FROM (
    SELECT min(first) AS idx FROM item_blocks WHERE map = :map AND first >= :low
    UNION ALL
    SELECT min(idx) FROM items WHERE map = :map AND idx >= :low
);

-- name: blocks_of_range
-- Blobs that overlap [low, high), the ones that count most last.
SELECT attempt, data
FROM item_blocks
WHERE map = :map AND first < :high AND last >= :low
ORDER BY attempt, id;

-- name: items_of_range
-- Attempts of items in [low, high), the last ones last.
SELECT map, idx, attempt, state, state_name, name, message, started, ended, worker, error_type, error_text
FROM items
WHERE map = :map AND idx >= :low AND idx < :high
ORDER BY attempt;

-- name: retried_blocks
-- Blobs of later attempts in a flow run's maps: they may overrule a failure.
SELECT b.map, b.attempt, b.data
FROM maps AS m
JOIN item_blocks AS b ON b.map = m.id AND b.attempt > 1
WHERE m.flow_run = ?;

-- name: failures
-- Failed items of a flow run (states as a JSON list) in groups, most frequent first; `overruled` asks the blobs.
SELECT m.task, i.error_type, i.message, count(*) AS times, min(i.idx)
FROM maps AS m
JOIN items AS i ON i.map = m.id
WHERE m.flow_run = :flow_run
    AND i.state IN (SELECT value FROM json_each(:states))
    AND NOT EXISTS (SELECT 1 FROM items AS n WHERE n.map = i.map AND n.idx = i.idx AND n.attempt > i.attempt)
    AND NOT overruled(i.map, i.idx, i.attempt)
GROUP BY m.task, i.error_type, i.message
ORDER BY times DESC, m.task, i.error_type, i.message
LIMIT :limit;

-- name: transitions
-- State changes of a run, or of one of its items, in the order they were written.
SELECT run, idx, attempt, state, state_name, message, at
FROM transitions
WHERE run = :run AND (:idx IS NULL OR idx = :idx)
ORDER BY id;

-- name: logs
-- The last lines of a flow run from a level on, oldest first.
SELECT at, level, logger, message, flow_run, map, idx
FROM (
    SELECT id, at, level, logger, message, flow_run, map, idx
    FROM logs
    WHERE flow_run = :flow_run AND level >= :level
    ORDER BY at DESC, id DESC
    LIMIT :limit
)
ORDER BY at, id;

-- name: request_cancel
-- Ask for a run's end, if it is in one of these states (a JSON list).
INSERT INTO cancel_requests (flow_run, requested)
SELECT id, :now FROM flow_runs WHERE id = :flow_run AND state IN (SELECT value FROM json_each(:open))
ON CONFLICT (flow_run) DO UPDATE SET requested = excluded.requested;

-- name: cancel_requested
-- Which of these runs (a JSON list) are to be cancelled.
SELECT flow_run FROM cancel_requests WHERE flow_run IN (SELECT value FROM json_each(?));

-- name: open_runs
-- Runs that have not ended, and what is known of their drivers.
SELECT id, attempt, pid, pid_started, host, max(heartbeat, created, coalesce(started, 0))
FROM flow_runs
WHERE state IN (SELECT value FROM json_each(?));

-- name: crash_run
-- End a run whose driver is gone, unless it has ended meanwhile or gave a sign of life.
UPDATE flow_runs
SET state = :state, state_name = :state_name, message = :message, ended = :now
WHERE id = :id AND attempt = :attempt AND pid = :pid AND pid_started = :pid_started
    AND max(heartbeat, created, coalesce(started, 0)) = :seen
    AND state IN (SELECT value FROM json_each(:open));
