-- What replicas of the control plane share besides facts.

-- Jobs that somebody waits for at some replica. `sealed`: what to do, which may hold a password. `told` counts what the
-- node has told; `report` (JSON) is the last of it. `kept_until`: unless the replica that waits for it says so again.
CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    sealed TEXT NOT NULL,
    state TEXT NOT NULL,
    told BIGINT NOT NULL,
    report TEXT NOT NULL,
    kept_until BIGINT NOT NULL
);

-- Single facts, by name.
CREATE TABLE facts (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
);
