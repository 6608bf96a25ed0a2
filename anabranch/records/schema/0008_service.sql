-- Deployments, schedules, orders, and who takes them (core/deployments.py, core/orders.py). Times are Unix seconds;
-- lists and objects are JSON.

CREATE TABLE deployments (
    id TEXT PRIMARY KEY NOT NULL,
    flow TEXT NOT NULL,
    name TEXT NOT NULL,
    revision INTEGER NOT NULL,
    content_hash TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    project TEXT NOT NULL,
    pool TEXT NOT NULL,
    queue TEXT NOT NULL,
    labels TEXT NOT NULL,
    tags TEXT NOT NULL,
    slots INTEGER,             -- NULL: any number
    collision TEXT NOT NULL,
    recover TEXT NOT NULL,
    expire_after REAL,         -- seconds; NULL: never
    paused INTEGER NOT NULL,
    document TEXT NOT NULL,
    created REAL NOT NULL,
    updated REAL NOT NULL,
    UNIQUE (flow, name)
);

CREATE TABLE deployment_revisions (
    deployment TEXT NOT NULL,
    revision INTEGER NOT NULL,
    document TEXT NOT NULL,
    author TEXT NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (deployment, revision)
);

CREATE TABLE schedules (
    id TEXT PRIMARY KEY NOT NULL,
    deployment TEXT NOT NULL,
    slug TEXT NOT NULL,
    spec TEXT NOT NULL,
    declared_active INTEGER NOT NULL,
    user_active INTEGER,       -- NULL: nobody has set it
    ticks_until REAL NOT NULL, -- the cursor
    next_tick REAL,            -- NULL: none any more
    parameters TEXT NOT NULL,
    UNIQUE (deployment, slug)
);
CREATE INDEX schedules_by_tick ON schedules (next_tick);

-- Beside the row of its flow run, which the run's driver writes.
CREATE TABLE orders (
    run TEXT PRIMARY KEY NOT NULL,
    deployment TEXT NOT NULL,
    revision INTEGER NOT NULL,
    order_key TEXT,            -- NULL: none
    pool TEXT NOT NULL,
    queue TEXT NOT NULL,
    priority INTEGER NOT NULL,
    due REAL NOT NULL,
    labels TEXT NOT NULL,
    parameters TEXT NOT NULL,
    job TEXT NOT NULL,
    schedule TEXT NOT NULL,
    author TEXT NOT NULL,
    state INTEGER NOT NULL,    -- core.orders.OrderState
    agent TEXT NOT NULL,
    token INTEGER NOT NULL,
    lease_until REAL NOT NULL,
    handle TEXT NOT NULL,
    kind TEXT NOT NULL,
    launches INTEGER NOT NULL,
    recoveries INTEGER NOT NULL,
    reason TEXT NOT NULL,
    created REAL NOT NULL,
    claimed REAL NOT NULL,
    begun REAL NOT NULL,
    cancel_by REAL,            -- a cancel that is under way is to be over by then; NULL: none is
    driver TEXT NOT NULL,      -- of the process that began it, so that it may ask again
    phase TEXT NOT NULL,       -- of its job, as its agent told it last: a launching.Phase
    UNIQUE (deployment, order_key)
);
-- In the order in which they are claimed; by deployment, to find those that have any; the ones that hold slots.
-- Only queries that say "due > 0" can take the second: no planner without statistics takes it in place of the first.
CREATE INDEX orders_waiting ON orders (pool, queue, priority DESC, due, run, deployment) WHERE state = 0;
CREATE INDEX orders_waiting_by_deployment ON orders (pool, deployment) WHERE state = 0 AND due > 0;
CREATE INDEX orders_held ON orders (pool, queue, deployment, agent) WHERE state IN (1, 2);
CREATE INDEX orders_open ON orders (due, run) WHERE state < 3;
CREATE INDEX orders_of_deployment ON orders (deployment, state) WHERE state < 3;
CREATE INDEX orders_of_agent ON orders (agent, state) WHERE state IN (1, 2);

CREATE TABLE work_pools (
    name TEXT PRIMARY KEY NOT NULL,
    kind TEXT NOT NULL,
    template TEXT NOT NULL,
    slots INTEGER,
    paused INTEGER NOT NULL,
    description TEXT NOT NULL,
    turn INTEGER NOT NULL      -- goes up with each change of its orders: agents that wait look at it
);
INSERT INTO work_pools (name, kind, template, slots, paused, description, turn) VALUES
    ('default', 'process', '{}', NULL, 0, '', 0),
    ('served', 'process', '{}', NULL, 0, '', 0);

CREATE TABLE work_queues (
    pool TEXT NOT NULL,
    name TEXT NOT NULL,
    priority INTEGER NOT NULL,
    slots INTEGER,
    paused INTEGER NOT NULL,
    PRIMARY KEY (pool, name)
);
INSERT INTO work_queues (pool, name, priority, slots, paused) VALUES
    ('default', 'default', 1, NULL, 0),
    ('served', 'default', 1, NULL, 0);

CREATE TABLE agents (
    id TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL,
    pool TEXT NOT NULL,
    queues TEXT NOT NULL,
    labels TEXT NOT NULL,
    deployments TEXT NOT NULL,
    kind TEXT NOT NULL,
    host TEXT NOT NULL,
    version TEXT NOT NULL,
    capacity INTEGER NOT NULL,
    seen REAL NOT NULL
);
CREATE INDEX agents_by_pool ON agents (pool, seen);

CREATE TABLE service_leases (
    name TEXT PRIMARY KEY NOT NULL,
    holder TEXT NOT NULL,
    until REAL NOT NULL
);

CREATE TABLE projects (
    name TEXT PRIMARY KEY NOT NULL,
    description TEXT NOT NULL,
    created REAL NOT NULL
);

-- Who may do what (core/access.py).
CREATE TABLE api_keys (
    id TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL,
    hash TEXT NOT NULL,        -- SHA-256 of the key; the key itself is shown once
    role TEXT NOT NULL,
    pool TEXT NOT NULL,        -- of an agent's key; '': all
    created REAL NOT NULL,
    expires REAL,
    last_used REAL,
    revoked REAL
);

-- What servers of this record sign with; made once, at random.
CREATE TABLE service_secrets (
    name TEXT PRIMARY KEY NOT NULL,
    secret TEXT NOT NULL
);

CREATE TABLE audit (
    id INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    who TEXT NOT NULL,
    what TEXT NOT NULL,
    details TEXT NOT NULL
);
CREATE INDEX audit_by_time ON audit (at);

-- Drivers that send their rows over HTTP: the number of the last frame that is in the record.
CREATE TABLE ingest_writers (
    writer TEXT PRIMARY KEY NOT NULL,
    seq INTEGER NOT NULL,
    seen REAL NOT NULL
);
