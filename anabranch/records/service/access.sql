-- Keys, what servers sign with, and the audit.

-- name: keys
-- All keys, newest first.
SELECT id, name, role, pool, created, expires, last_used, revoked FROM api_keys ORDER BY created DESC, id;

-- name: good_keys
-- How many keys are good at a time.
SELECT count(*) FROM api_keys WHERE revoked IS NULL AND (expires IS NULL OR expires > ?);

-- name: good_key_names
-- How many keys of a name are good at a time.
SELECT count(*) FROM api_keys WHERE name = ? AND revoked IS NULL AND (expires IS NULL OR expires > ?);

-- name: key_by_id
-- A key, with the hash of its text last.
SELECT id, name, role, pool, created, expires, last_used, revoked, hash FROM api_keys WHERE id = ?;

-- name: order_of_key
-- How far the order of a run is, its token, and when the run ended.
SELECT o.state, o.token, r.ended FROM orders AS o JOIN flow_runs AS r ON r.id = o.run WHERE o.run = ?;

-- name: enter_key
-- A new key.
INSERT INTO api_keys (id, name, hash, role, pool, created, expires, last_used, revoked)
VALUES (?, ?, ?, ?, ?, ?, ?, NULL, NULL);

-- name: revoke_key
-- A key ends, by its id or its name.
UPDATE api_keys SET revoked = :now WHERE (id = :key OR name = :key) AND revoked IS NULL;

-- name: key_used
-- A key was used.
UPDATE api_keys SET last_used = ? WHERE id = ?;

-- name: secret
-- What servers of this record sign with.
SELECT secret FROM service_secrets WHERE name = ?;

-- name: enter_secret
-- The secret of a name, unless there is one.
INSERT INTO service_secrets (name, secret) VALUES (?, ?) ON CONFLICT (name) DO NOTHING;

-- name: note_write
-- A write through a server.
INSERT INTO audit (at, who, what, details) VALUES (?, ?, ?, ?);

-- name: audit
-- Writes before one of them, newest first.
SELECT id, at, who, what, details FROM audit WHERE id < ? ORDER BY id DESC LIMIT ?;
