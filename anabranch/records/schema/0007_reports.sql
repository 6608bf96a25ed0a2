-- What a report of a run tells of its maps beside their items: what they read, on how many slots, what became of values.

ALTER TABLE maps ADD COLUMN upstreams TEXT NOT NULL DEFAULT '[]';  -- a JSON list: ids of maps
ALTER TABLE maps ADD COLUMN slots INTEGER NOT NULL DEFAULT 0;      -- of the runner; 0: unknown
ALTER TABLE maps ADD COLUMN account TEXT NOT NULL DEFAULT '{}';    -- a JSON object, see MapRow of core/runs.py
