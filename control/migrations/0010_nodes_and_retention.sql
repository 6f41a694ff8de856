-- Data-plane nodes as they last reported, and bounds on what groups hold.

-- `heard_at`: by the control plane's clock. `max_outage_ms`: for how long it serves without word from the control plane.
CREATE TABLE nodes (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    heard_at BIGINT NOT NULL,
    applied_revision BIGINT NOT NULL,
    max_outage_ms BIGINT NOT NULL,
    fills BIGINT NOT NULL,
    served_bytes BIGINT NOT NULL,
    fetched_bytes BIGINT NOT NULL,
    peer_bytes BIGINT NOT NULL,
    peer_url TEXT NOT NULL,
    store_id TEXT NOT NULL,
    store_total_bytes BIGINT NOT NULL,
    store_available_bytes BIGINT NOT NULL
);
CREATE INDEX nodes_by_heard ON nodes (heard_at);

-- 0: no bound. `protected_tags`: patterns, separated by single spaces.
ALTER TABLE groups ADD COLUMN quota_bytes BIGINT NOT NULL DEFAULT 0;
ALTER TABLE groups ADD COLUMN protected_tags TEXT NOT NULL DEFAULT '';
