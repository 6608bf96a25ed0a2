-- What another driver needs to go on with a run: which calls were made, and where their values lie.

ALTER TABLE flow_runs ADD COLUMN resumable INTEGER NOT NULL DEFAULT 0;
ALTER TABLE flow_runs ADD COLUMN run_key TEXT NOT NULL DEFAULT '';   -- the user's, or that of a subflow's call
ALTER TABLE flow_runs ADD COLUMN entry TEXT NOT NULL DEFAULT '';     -- file:name of the flow
ALTER TABLE flow_runs ADD COLUMN token INTEGER NOT NULL DEFAULT 0;   -- one higher with each driver that takes over
CREATE INDEX flow_runs_by_key ON flow_runs (run_key, created) WHERE run_key <> '';

ALTER TABLE maps ADD COLUMN call_key TEXT NOT NULL DEFAULT '';       -- of the call: path, task, inputs, occurrence
ALTER TABLE maps ADD COLUMN code TEXT NOT NULL DEFAULT '';           -- hash of the task's source
ALTER TABLE maps ADD COLUMN superseded TEXT NOT NULL DEFAULT '';     -- the series that took its place

-- Items of a map whose values lie in one block of the result store, or of which no value is kept (no name).
CREATE TABLE stored_items (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    map TEXT NOT NULL,
    kind TEXT NOT NULL,        -- value or input
    name TEXT NOT NULL,        -- of the block
    first INTEGER NOT NULL,    -- lowest and
    last INTEGER NOT NULL,     -- highest index
    items BLOB NOT NULL,       -- indexes, 8 bytes each; empty: all from first to last
    slots BLOB NOT NULL,       -- where each lies in the block, 4 bytes each; empty: 0, 1, 2, ...
    digests BLOB NOT NULL      -- of the items' inputs, 12 bytes each; empty: they follow from other items
);
CREATE INDEX stored_items_by_map ON stored_items (map, id);
