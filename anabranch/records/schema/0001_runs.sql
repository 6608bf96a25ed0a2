-- Runs and what became of them. Times are Unix seconds; states are codes of core/states.py.

CREATE TABLE flow_runs (
    id TEXT PRIMARY KEY NOT NULL,
    flow TEXT NOT NULL,
    name TEXT NOT NULL,
    state INTEGER NOT NULL,
    state_name TEXT NOT NULL,
    message TEXT NOT NULL,
    created REAL NOT NULL,
    started REAL,
    ended REAL,
    attempt INTEGER NOT NULL,
    parent_run TEXT NOT NULL,
    version TEXT NOT NULL,
    runner TEXT NOT NULL,
    tags TEXT NOT NULL,        -- a JSON list
    parameters TEXT NOT NULL,  -- a JSON object
    pid INTEGER NOT NULL,
    pid_started REAL NOT NULL,
    host TEXT NOT NULL,
    heartbeat REAL NOT NULL
);
CREATE INDEX flow_runs_by_age ON flow_runs (created);
CREATE INDEX flow_runs_by_flow ON flow_runs (flow, created);
CREATE INDEX flow_runs_by_name ON flow_runs (name, created);
CREATE INDEX flow_runs_by_state ON flow_runs (state, created);

CREATE TABLE maps (
    id TEXT PRIMARY KEY NOT NULL,
    flow_run TEXT NOT NULL,
    task TEXT NOT NULL,
    kind TEXT NOT NULL,
    length INTEGER,
    created REAL NOT NULL,
    ended REAL,
    counts TEXT NOT NULL,      -- a JSON object: number of items by state name
    parent TEXT NOT NULL,
    tags TEXT NOT NULL
);
CREATE INDEX maps_by_flow_run ON maps (flow_run, created);

-- Final states and times of many items in one blob (records/blocks.py); the id tells which is newer.
CREATE TABLE item_blocks (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    map TEXT NOT NULL,
    first INTEGER NOT NULL,    -- lowest and
    last INTEGER NOT NULL,     -- highest index: not all between them need be here
    attempt INTEGER NOT NULL,
    sealed INTEGER NOT NULL,   -- 0: still to be merged with its neighbours and made small
    data BLOB NOT NULL
);
CREATE INDEX item_blocks_by_index ON item_blocks (map, first, last);
CREATE INDEX item_blocks_loose ON item_blocks (map) WHERE sealed = 0;
CREATE INDEX item_blocks_retried ON item_blocks (map) WHERE attempt > 1;

-- Attempts of items that went another way than the happy one.
CREATE TABLE items (
    map TEXT NOT NULL,
    idx INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    state INTEGER NOT NULL,
    state_name TEXT NOT NULL,
    name TEXT NOT NULL,
    message TEXT NOT NULL,
    started REAL,
    ended REAL,
    worker TEXT NOT NULL,
    error_type TEXT NOT NULL,
    error_text TEXT NOT NULL,
    PRIMARY KEY (map, idx, attempt)
);

CREATE TABLE transitions (
    id INTEGER PRIMARY KEY,
    run TEXT NOT NULL,
    idx INTEGER NOT NULL,      -- -1: of the flow run itself
    attempt INTEGER NOT NULL,
    state INTEGER NOT NULL,
    state_name TEXT NOT NULL,
    message TEXT NOT NULL,
    at REAL NOT NULL
);
CREATE INDEX transitions_by_run ON transitions (run, idx);

CREATE TABLE logs (
    id INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    level INTEGER NOT NULL,
    logger TEXT NOT NULL,
    message TEXT NOT NULL,
    flow_run TEXT NOT NULL,
    map TEXT NOT NULL,
    idx INTEGER NOT NULL
);
CREATE INDEX logs_by_flow_run ON logs (flow_run, at);

CREATE TABLE cancel_requests (
    flow_run TEXT PRIMARY KEY NOT NULL,
    requested REAL NOT NULL
);
