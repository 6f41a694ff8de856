-- More settings of upstreams, and what nodes learn of them.

ALTER TABLE upstreams ADD COLUMN ca_pem TEXT NOT NULL DEFAULT '';
ALTER TABLE upstreams ADD COLUMN redirect_hosts TEXT NOT NULL DEFAULT '';
ALTER TABLE upstreams ADD COLUMN reserve_percent BIGINT NOT NULL DEFAULT 10;

-- Pull limits and pauses, for each set of credentials ('' is none) and whom upstream counts for.
-- `told_at`: what nodes were told last was seen then.
CREATE TABLE upstream_conditions (
    upstream TEXT NOT NULL,
    username TEXT NOT NULL,
    source TEXT NOT NULL,
    paused_until BIGINT NOT NULL,
    pull_limit BIGINT NOT NULL,
    remaining BIGINT NOT NULL,
    window_seconds BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    told_at BIGINT NOT NULL,
    PRIMARY KEY (upstream, username, source)
);

-- Whether upstreams answer, as each node sees it.
CREATE TABLE upstream_health (
    upstream TEXT NOT NULL,
    username TEXT NOT NULL,
    node TEXT NOT NULL,
    state TEXT NOT NULL,
    last_error TEXT NOT NULL,
    last_failed_at BIGINT NOT NULL,
    last_answered_at BIGINT NOT NULL,
    reported_at BIGINT NOT NULL,
    PRIMARY KEY (upstream, username, node)
);

-- Manifests fetched by GET, in buckets of ten minutes.
CREATE TABLE upstream_spends (
    upstream TEXT NOT NULL,
    username TEXT NOT NULL,
    group_id TEXT NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    bucket_start BIGINT NOT NULL,
    pulls BIGINT NOT NULL,
    PRIMARY KEY (upstream, username, group_id, bucket_start)
);
CREATE INDEX upstream_spends_by_age ON upstream_spends (bucket_start);
