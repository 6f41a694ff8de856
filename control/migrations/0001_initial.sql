-- One schema for SQLite and PostgreSQL. Ids are UUIDv7 as text, times are milliseconds since 1970 (UTC),
-- truth values are 0 or 1, lists in one column are separated by single spaces.

-- The counter that orders everything nodes must learn of. Its one row is also the lock that makes revisions
-- become visible in their order. `pruned_through`: changes up to and including this revision are forgotten.
CREATE TABLE revision_counter (
    id BIGINT PRIMARY KEY,
    revision BIGINT NOT NULL,
    pruned_through BIGINT NOT NULL
);

-- What changed, not how: readers look up the subject's present state.
CREATE TABLE changes (
    revision BIGINT PRIMARY KEY,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    changed_at BIGINT NOT NULL
);
CREATE INDEX changes_by_age ON changes (changed_at);

CREATE TABLE groups (
    id TEXT PRIMARY KEY,
    path TEXT NOT NULL UNIQUE,
    visibility TEXT NOT NULL,
    anonymous_pull BIGINT NOT NULL,
    enabled BIGINT NOT NULL,
    frozen BIGINT NOT NULL,
    upstreams TEXT NOT NULL,
    max_age_ms BIGINT NOT NULL,
    etag BIGINT NOT NULL,
    link_epoch BIGINT NOT NULL,
    credential_epoch BIGINT NOT NULL,
    access_epoch BIGINT NOT NULL,
    hits BIGINT NOT NULL,
    misses BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

-- The same list as groups.upstreams, for finding the groups that use an upstream.
CREATE TABLE group_upstreams (
    host TEXT NOT NULL,
    group_id TEXT NOT NULL REFERENCES groups (id),
    PRIMARY KEY (host, group_id)
);
CREATE INDEX group_upstreams_by_group ON group_upstreams (group_id);

CREATE TABLE tokens (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    username TEXT NOT NULL UNIQUE,
    group_id TEXT REFERENCES groups (id),
    secret_hash TEXT NOT NULL UNIQUE,
    scopes TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    last_used_at BIGINT
);
CREATE INDEX tokens_by_group ON tokens (group_id, id);

CREATE TABLE revocations (
    token_id TEXT PRIMARY KEY,
    forget_after BIGINT NOT NULL
);

CREATE TABLE signing_keys (
    id TEXT PRIMARY KEY,
    public_key TEXT NOT NULL,
    sealed_private_key TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    not_after BIGINT
);

CREATE TABLE upstreams (
    host TEXT PRIMARY KEY,
    url TEXT NOT NULL,
    token_hosts TEXT NOT NULL,
    updated_at BIGINT
);

CREATE TABLE credentials (
    group_id TEXT NOT NULL REFERENCES groups (id),
    host TEXT NOT NULL,
    username TEXT NOT NULL,
    sealed_password TEXT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (group_id, host)
);
CREATE INDEX credentials_by_host ON credentials (host);

-- Everything that is stored, once per digest. `unlinked_at` is set while no link is left, `claimed_at` while a node
-- may be deleting it.
CREATE TABLE contents (
    digest TEXT PRIMARY KEY,
    size_bytes BIGINT NOT NULL,
    unlinked_at BIGINT,
    claimed_at BIGINT
);
CREATE INDEX contents_unlinked ON contents (unlinked_at);

-- A group's proven right to content of one repository. `media_type`: of manifests, as the group's own upstream gave it
-- last; two upstreams may disagree about the same bytes.
CREATE TABLE links (
    group_id TEXT NOT NULL REFERENCES groups (id),
    upstream TEXT NOT NULL,
    repository TEXT NOT NULL,
    digest TEXT NOT NULL REFERENCES contents (digest),
    kind TEXT NOT NULL,
    media_type TEXT NOT NULL,
    cached_at BIGINT NOT NULL,
    last_pulled_at BIGINT,
    PRIMARY KEY (group_id, upstream, repository, digest)
);
CREATE INDEX links_by_digest ON links (digest, group_id);
CREATE INDEX links_by_kind ON links (group_id, kind, upstream, repository, digest);

-- What a manifest refers to: a fact of its bytes, the same for all groups, and nobody's right.
CREATE TABLE manifest_references (
    manifest TEXT NOT NULL,
    child TEXT NOT NULL,
    kind TEXT NOT NULL,
    size_bytes BIGINT NOT NULL,
    platform TEXT NOT NULL,
    PRIMARY KEY (manifest, child)
);

-- `digest`: what can be served ('' if nothing), confirmed by upstream at `confirmed_at`.
-- `seen_digest`: what upstream said last, at `seen_at`.
CREATE TABLE tags (
    group_id TEXT NOT NULL REFERENCES groups (id),
    upstream TEXT NOT NULL,
    repository TEXT NOT NULL,
    tag TEXT NOT NULL,
    digest TEXT NOT NULL,
    confirmed_at BIGINT NOT NULL,
    seen_digest TEXT NOT NULL,
    seen_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (group_id, upstream, repository, tag)
);
CREATE INDEX tags_by_digest ON tags (group_id, upstream, repository, digest);
CREATE INDEX tags_by_seen_digest ON tags (group_id, upstream, repository, seen_digest);

-- Batches of usage already counted.
CREATE TABLE usage_batches (
    id TEXT PRIMARY KEY,
    received_at BIGINT NOT NULL
);
CREATE INDEX usage_batches_by_age ON usage_batches (received_at);
