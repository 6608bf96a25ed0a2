-- When something that one process at a time does for all was last done.

CREATE TABLE chores (
    name TEXT PRIMARY KEY NOT NULL,
    at REAL NOT NULL
);
