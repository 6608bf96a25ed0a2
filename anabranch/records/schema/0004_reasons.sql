-- Why an item left the happy path, beside how it ended.

ALTER TABLE items ADD COLUMN reason TEXT NOT NULL DEFAULT '';   -- a code word of core/reasons.py
ALTER TABLE items ADD COLUMN details TEXT NOT NULL DEFAULT '';  -- a JSON object, or nothing
