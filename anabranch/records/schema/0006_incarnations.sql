-- The batch system's job that a run's driver is in, and how often it was started before: a later start takes over at once.

ALTER TABLE flow_runs ADD COLUMN incarnation TEXT NOT NULL DEFAULT '';  -- as "slurm:123.2"; empty outside of jobs
