-- Limits that several programs share, and who holds slots of them. Times are Unix seconds.

CREATE TABLE limits (
    name TEXT PRIMARY KEY NOT NULL,
    slots INTEGER,             -- at once; NULL: any number
    rate REAL,                 -- starts a second; NULL: any number
    active INTEGER NOT NULL,   -- 0: kept, but holds for nobody
    next_start REAL NOT NULL,  -- under a rate: not before then
    turn INTEGER NOT NULL      -- counts changes of leases: who makes one has locked this row, where rows have locks
);

CREATE TABLE limit_leases (
    name TEXT NOT NULL,
    holder TEXT NOT NULL,      -- token of a program's session
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    pid_started REAL NOT NULL,
    slots INTEGER NOT NULL,    -- held
    wanted INTEGER NOT NULL,   -- waited for,
    unit INTEGER NOT NULL,     -- so many of them of use only together,
    since REAL NOT NULL,       -- from then on
    renewed REAL NOT NULL,     -- last sign of life
    ticks REAL NOT NULL,       -- the same by the clock of the holder's host that nobody sets
    PRIMARY KEY (name, holder)
);
CREATE INDEX limit_leases_by_holder ON limit_leases (holder);
