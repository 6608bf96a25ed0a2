-- Queries that PostgreSQL needs in another form than queries.sql has; the names are the same.

-- name: maps
-- Maps of a flow run in the order they were begun: ids grow with time, rows have no numbers.
SELECT id, flow_run, task, kind, length, created, ended, counts, parent, tags, call_key, code, superseded,
    upstreams, slots, account
FROM maps
WHERE flow_run = ?
ORDER BY created, id;

-- name: tokens
-- Who may write of these runs (a JSON list); nobody may take one over before this transaction has ended.
SELECT id, token FROM flow_runs WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id FOR NO KEY UPDATE;
