-- One schema for SQLite and PostgreSQL. Ids are UUIDv7 as text, times are milliseconds since 1970 (UTC), truth values
-- are 0 or 1, lists in one column are separated by single spaces.
--
-- Every text column has the collation "BINARY", which compares bytes: pages of lists and everything below a path depend
-- on it. SQLite has it built in; in PostgreSQL it is made from "C" before this file runs.

-- The version of Roadstead that used the database last. Its one row tells an older version what it has before it.
CREATE TABLE installation (
    id BIGINT PRIMARY KEY,
    version TEXT COLLATE "BINARY" NOT NULL
);

-- Changes: what nodes must learn of.

-- The counter that orders everything nodes must learn of. Its one row is also the lock that makes revisions become
-- visible in their order. `pruned_through`: changes before this revision are forgotten. `mark`: random, of the revision; a database
-- that was put back to an earlier state gives the same numbers again, with other marks. `timeline`: named anew at each restore, and
-- whenever the database turns out to have been put back. `jobs` counts the changes of jobs, so that one look at this row
-- finds all.
CREATE TABLE revision_counter (
    id BIGINT PRIMARY KEY,
    revision BIGINT NOT NULL,
    pruned_through BIGINT NOT NULL,
    mark TEXT COLLATE "BINARY" NOT NULL,
    timeline TEXT COLLATE "BINARY" NOT NULL,
    jobs BIGINT NOT NULL DEFAULT 0
);

-- What changed, not how: readers look up the subject's present state.
CREATE TABLE changes (
    revision BIGINT PRIMARY KEY,
    kind TEXT COLLATE "BINARY" NOT NULL,
    subject TEXT COLLATE "BINARY" NOT NULL,
    changed_at BIGINT NOT NULL,
    mark TEXT COLLATE "BINARY" NOT NULL
);
CREATE INDEX changes_by_age ON changes (changed_at);

-- Groups and their members.

-- `tag_rules`: JSON, read and written as a whole. `quota_bytes`: 0 is no bound. `allowed_images`, `denied_images`,
-- `protected_tags`: lists of patterns.
CREATE TABLE groups (
    id TEXT COLLATE "BINARY" PRIMARY KEY,
    path TEXT COLLATE "BINARY" NOT NULL UNIQUE,
    visibility TEXT COLLATE "BINARY" NOT NULL,
    anonymous_pull BIGINT NOT NULL,
    enabled BIGINT NOT NULL,
    frozen BIGINT NOT NULL,
    max_age_ms BIGINT NOT NULL,
    retention_ms BIGINT NOT NULL,
    max_stale_ms BIGINT NOT NULL,
    cooldown_ms BIGINT NOT NULL,
    missing_tag TEXT COLLATE "BINARY" NOT NULL,
    tag_rules TEXT COLLATE "BINARY" NOT NULL,
    allowed_images TEXT COLLATE "BINARY" NOT NULL,
    denied_images TEXT COLLATE "BINARY" NOT NULL,
    quota_bytes BIGINT NOT NULL,
    protected_tags TEXT COLLATE "BINARY" NOT NULL,
    etag BIGINT NOT NULL,
    link_epoch BIGINT NOT NULL,
    credential_epoch BIGINT NOT NULL,
    access_epoch BIGINT NOT NULL,
    hits BIGINT NOT NULL,
    misses BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    settings_bytes BIGINT NOT NULL DEFAULT 0
);

-- The sum of groups.settings_bytes: one row.
CREATE TABLE settings_total (
    id BIGINT PRIMARY KEY,
    bytes BIGINT NOT NULL
);
INSERT INTO settings_total (id, bytes) VALUES (1, 0);

-- The upstreams that a group may use, in the order of `position`.
CREATE TABLE group_upstreams (
    group_id TEXT COLLATE "BINARY" NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    position BIGINT NOT NULL,
    host TEXT COLLATE "BINARY" NOT NULL,
    PRIMARY KEY (group_id, host)
);
CREATE INDEX group_upstreams_by_host ON group_upstreams (host, group_id);

-- The paths that a group had, the oldest first. None of them is any group's path.
CREATE TABLE group_old_paths (
    path TEXT COLLATE "BINARY" PRIMARY KEY,
    group_id TEXT COLLATE "BINARY" NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    position BIGINT NOT NULL
);
CREATE INDEX group_old_paths_by_group ON group_old_paths (group_id, position);

-- `password_hash`: Argon2id, in PHC form. `epoch`: registry tokens that carry a lower one are void.
CREATE TABLE users (
    id TEXT COLLATE "BINARY" PRIMARY KEY,
    name TEXT COLLATE "BINARY" NOT NULL UNIQUE,
    password_hash TEXT COLLATE "BINARY" NOT NULL,
    admin BIGINT NOT NULL,
    disabled BIGINT NOT NULL,
    etag BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    last_seen_at BIGINT
);

CREATE TABLE memberships (
    group_id TEXT COLLATE "BINARY" NOT NULL REFERENCES groups (id),
    user_id TEXT COLLATE "BINARY" NOT NULL REFERENCES users (id),
    role TEXT COLLATE "BINARY" NOT NULL,
    added_at BIGINT NOT NULL,
    PRIMARY KEY (group_id, user_id)
);
CREATE INDEX memberships_by_user ON memberships (user_id);

-- Identity: tokens, keys, and issuers of ID tokens.

-- `username` is not unique: personal tokens go by the person's name.
CREATE TABLE tokens (
    id TEXT COLLATE "BINARY" PRIMARY KEY,
    kind TEXT COLLATE "BINARY" NOT NULL,
    name TEXT COLLATE "BINARY" NOT NULL,
    username TEXT COLLATE "BINARY" NOT NULL,
    group_id TEXT COLLATE "BINARY" REFERENCES groups (id),
    user_id TEXT COLLATE "BINARY" REFERENCES users (id),
    role TEXT COLLATE "BINARY",
    secret_hash TEXT COLLATE "BINARY" NOT NULL UNIQUE,
    scopes TEXT COLLATE "BINARY" NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    last_used_at BIGINT
);
CREATE INDEX tokens_by_group ON tokens (group_id, id);
CREATE INDEX tokens_by_user ON tokens (user_id, id);
-- Expired job tokens are looked for again and again.
CREATE INDEX tokens_by_expiry ON tokens (kind, expires_at);

-- Tokens, and users by their id: registry tokens of a user below `user_epoch` are void. 0 voids all.
-- `owner_id`: the top-level group or the user whose token it was.
CREATE TABLE revocations (
    token_id TEXT COLLATE "BINARY" PRIMARY KEY,
    forget_after BIGINT NOT NULL,
    user_epoch BIGINT NOT NULL DEFAULT 0,
    owner_id TEXT COLLATE "BINARY" NOT NULL DEFAULT ''
);
CREATE INDEX revocations_by_owner ON revocations (owner_id);

CREATE TABLE signing_keys (
    id TEXT COLLATE "BINARY" PRIMARY KEY,
    public_key TEXT COLLATE "BINARY" NOT NULL,
    sealed_private_key TEXT COLLATE "BINARY" NOT NULL,
    created_at BIGINT NOT NULL,
    not_after BIGINT
);

-- Issuers that an administrator allowed.
CREATE TABLE oidc_issuers (
    url TEXT COLLATE "BINARY" PRIMARY KEY,
    created_at BIGINT NOT NULL
);

-- What groups trust of an issuer. `claims`: JSON, a list of [claim, pattern].
CREATE TABLE oidc_trusts (
    id TEXT COLLATE "BINARY" PRIMARY KEY,
    group_id TEXT COLLATE "BINARY" NOT NULL REFERENCES groups (id),
    issuer TEXT COLLATE "BINARY" NOT NULL REFERENCES oidc_issuers (url),
    audience TEXT COLLATE "BINARY" NOT NULL,
    claims TEXT COLLATE "BINARY" NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX oidc_trusts_by_group ON oidc_trusts (group_id, id);
CREATE INDEX oidc_trusts_by_issuer ON oidc_trusts (issuer, audience);

-- Upstreams.

CREATE TABLE upstreams (
    host TEXT COLLATE "BINARY" PRIMARY KEY,
    url TEXT COLLATE "BINARY" NOT NULL,
    token_hosts TEXT COLLATE "BINARY" NOT NULL,
    redirect_hosts TEXT COLLATE "BINARY" NOT NULL,
    ca_pem TEXT COLLATE "BINARY" NOT NULL,
    reserve_percent BIGINT NOT NULL,
    updated_at BIGINT
);

CREATE TABLE credentials (
    group_id TEXT COLLATE "BINARY" NOT NULL REFERENCES groups (id),
    host TEXT COLLATE "BINARY" NOT NULL,
    username TEXT COLLATE "BINARY" NOT NULL,
    sealed_password TEXT COLLATE "BINARY" NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (group_id, host)
);
CREATE INDEX credentials_by_host ON credentials (host);

-- Pull limits and pauses, for each set of credentials ('' is none) and whom upstream counts for.
-- `told_at`: what nodes were told last was seen then.
CREATE TABLE upstream_conditions (
    upstream TEXT COLLATE "BINARY" NOT NULL,
    username TEXT COLLATE "BINARY" NOT NULL,
    source TEXT COLLATE "BINARY" NOT NULL,
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
    upstream TEXT COLLATE "BINARY" NOT NULL,
    username TEXT COLLATE "BINARY" NOT NULL,
    node TEXT COLLATE "BINARY" NOT NULL,
    state TEXT COLLATE "BINARY" NOT NULL,
    last_error TEXT COLLATE "BINARY" NOT NULL,
    last_failed_at BIGINT NOT NULL,
    last_answered_at BIGINT NOT NULL,
    reported_at BIGINT NOT NULL,
    PRIMARY KEY (upstream, username, node)
);

-- Manifests fetched by GET, in buckets of ten minutes.
CREATE TABLE upstream_spends (
    upstream TEXT COLLATE "BINARY" NOT NULL,
    username TEXT COLLATE "BINARY" NOT NULL,
    group_id TEXT COLLATE "BINARY" NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    bucket_start BIGINT NOT NULL,
    pulls BIGINT NOT NULL,
    PRIMARY KEY (upstream, username, group_id, bucket_start)
);
CREATE INDEX upstream_spends_by_age ON upstream_spends (bucket_start);

-- Tags.

-- `digest`: what can be served ('' if nothing), confirmed by upstream at `confirmed_at`.
-- `seen_digest`: what upstream said last, at `seen_at`.
-- `checked_at`: when upstream last said something by which `digest` may be served; 0 if it has said otherwise since.
-- `served`: what the tag means to those who pull it: what it is pinned to, else `digest`.
CREATE TABLE tags (
    group_id TEXT COLLATE "BINARY" NOT NULL REFERENCES groups (id),
    upstream TEXT COLLATE "BINARY" NOT NULL,
    repository TEXT COLLATE "BINARY" NOT NULL,
    tag TEXT COLLATE "BINARY" NOT NULL,
    digest TEXT COLLATE "BINARY" NOT NULL,
    confirmed_at BIGINT NOT NULL,
    seen_digest TEXT COLLATE "BINARY" NOT NULL,
    seen_at BIGINT NOT NULL,
    checked_at BIGINT NOT NULL,
    served TEXT COLLATE "BINARY" NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (group_id, upstream, repository, tag)
);
CREATE INDEX tags_by_digest ON tags (group_id, upstream, repository, digest);
CREATE INDEX tags_by_seen_digest ON tags (group_id, upstream, repository, seen_digest);
CREATE INDEX tags_by_served ON tags (group_id, upstream, repository, served, tag);

-- Every digest that a tag has meant upstream. `last_seen` is written when the tag moves on; until then tags.seen_at is
-- later.
CREATE TABLE tag_history (
    group_id TEXT COLLATE "BINARY" NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    upstream TEXT COLLATE "BINARY" NOT NULL,
    repository TEXT COLLATE "BINARY" NOT NULL,
    tag TEXT COLLATE "BINARY" NOT NULL,
    digest TEXT COLLATE "BINARY" NOT NULL,
    first_seen BIGINT NOT NULL,
    last_seen BIGINT NOT NULL,
    PRIMARY KEY (group_id, upstream, repository, tag, digest)
);

-- Tags that a maintainer fixed to a digest. A setting: no purge takes it.
CREATE TABLE tag_pins (
    group_id TEXT COLLATE "BINARY" NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    upstream TEXT COLLATE "BINARY" NOT NULL,
    repository TEXT COLLATE "BINARY" NOT NULL,
    tag TEXT COLLATE "BINARY" NOT NULL,
    digest TEXT COLLATE "BINARY" NOT NULL,
    pinned_at BIGINT NOT NULL,
    PRIMARY KEY (group_id, upstream, repository, tag)
);

-- The cache: content, links, and what is counted of them.

-- Everything that is stored, once per digest. `unlinked_at` is set while no link is left, `claimed_at` while a node
-- may be deleting it. `claim_id`: which claim `claimed_at` is of, so that a late confirmation of an earlier one takes
-- nothing. `claimed_by`: the node. `only_store`: found there and nowhere else; nodes with other stores cannot delete it.
-- `scrubbed_at`: when its bytes were last handed to a node to be hashed; 0: never.
CREATE TABLE contents (
    digest TEXT COLLATE "BINARY" PRIMARY KEY,
    size_bytes BIGINT NOT NULL,
    unlinked_at BIGINT,
    claimed_at BIGINT,
    claim_id TEXT COLLATE "BINARY",
    claimed_by TEXT COLLATE "BINARY",
    only_store TEXT COLLATE "BINARY",
    scrubbed_at BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX contents_unlinked ON contents (unlinked_at);
CREATE INDEX contents_claimed ON contents (claimed_by);
CREATE INDEX contents_by_scrub ON contents (scrubbed_at);

-- Which upstreams a content was fetched from, whole and hashed. At one of these an answer to a HEAD proves a group's
-- right to it; at any other upstream a group has to fetch it. The rows go with the content, and with the upstream's
-- address.
CREATE TABLE content_sources (
    digest TEXT COLLATE "BINARY" NOT NULL,
    upstream TEXT COLLATE "BINARY" NOT NULL,
    PRIMARY KEY (digest, upstream)
);
CREATE INDEX content_sources_by_upstream ON content_sources (upstream);

-- A group's proven right to content of one repository. `media_type`: of manifests, as the group's own upstream gave it
-- last; two upstreams may disagree about the same bytes.
-- `held_bytes`: of a blob its size; of a manifest its size and that of all linked beside it that it refers to, each once.
-- `parents`: how many manifests linked beside it refer to it.
-- `pulled_at`: as last_pulled_at, but 0 for never: a key of lists needs a value.
CREATE TABLE links (
    group_id TEXT COLLATE "BINARY" NOT NULL REFERENCES groups (id),
    upstream TEXT COLLATE "BINARY" NOT NULL,
    repository TEXT COLLATE "BINARY" NOT NULL,
    digest TEXT COLLATE "BINARY" NOT NULL REFERENCES contents (digest),
    kind TEXT COLLATE "BINARY" NOT NULL,
    media_type TEXT COLLATE "BINARY" NOT NULL,
    cached_at BIGINT NOT NULL,
    last_pulled_at BIGINT,
    held_bytes BIGINT NOT NULL DEFAULT 0,
    parents BIGINT NOT NULL DEFAULT 0,
    pulled_at BIGINT NOT NULL DEFAULT 0,
    pulls BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (group_id, upstream, repository, digest)
);
-- The group comes second: an index that holds all columns and begins with the group would be taken for the lookup of one
-- digest by a database without statistics, and be gone through from end to end.
CREATE INDEX links_by_digest ON links (digest, group_id, kind, upstream, repository);
CREATE INDEX links_by_kind ON links (kind, group_id, upstream, repository, digest);
CREATE INDEX links_by_size ON links (kind, group_id, held_bytes, upstream, repository, digest);
CREATE INDEX links_by_pulled ON links (kind, group_id, pulled_at, upstream, repository, digest);
CREATE INDEX links_by_pulls ON links (kind, group_id, pulls, upstream, repository, digest);
-- What nobody has used for long.
CREATE INDEX links_by_use ON links (group_id, (COALESCE(last_pulled_at, cached_at)), upstream, repository);
-- The distinct contents of a group, in the order of digests.
CREATE INDEX links_by_group_digest ON links (group_id, digest);

-- What a manifest refers to: a fact of its bytes, the same for all groups, and nobody's right.
CREATE TABLE manifest_references (
    manifest TEXT COLLATE "BINARY" NOT NULL,
    child TEXT COLLATE "BINARY" NOT NULL,
    kind TEXT COLLATE "BINARY" NOT NULL,
    size_bytes BIGINT NOT NULL,
    platform TEXT COLLATE "BINARY" NOT NULL,
    PRIMARY KEY (manifest, child)
);
CREATE INDEX manifest_references_by_child ON manifest_references (child, manifest);

-- One row for each repository that a group has links of, kept along with the links. `pulls`: of manifests.
CREATE TABLE images (
    group_id TEXT COLLATE "BINARY" NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    upstream TEXT COLLATE "BINARY" NOT NULL,
    repository TEXT COLLATE "BINARY" NOT NULL,
    manifests BIGINT NOT NULL,
    blobs BIGINT NOT NULL,
    size_bytes BIGINT NOT NULL,
    pulls BIGINT NOT NULL,
    pulled_at BIGINT NOT NULL,
    cached_at BIGINT NOT NULL,
    PRIMARY KEY (group_id, upstream, repository)
);
CREATE INDEX images_by_size ON images (group_id, size_bytes, upstream, repository);
CREATE INDEX images_by_pulled ON images (group_id, pulled_at, upstream, repository);
CREATE INDEX images_by_pulls ON images (group_id, pulls, upstream, repository);

-- What each group holds, each digest once: kept along with the links.
CREATE TABLE group_totals (
    group_id TEXT COLLATE "BINARY" PRIMARY KEY REFERENCES groups (id) ON DELETE CASCADE,
    blobs BIGINT NOT NULL,
    bytes BIGINT NOT NULL
);

-- Batches of usage already counted.
CREATE TABLE usage_batches (
    id TEXT COLLATE "BINARY" PRIMARY KEY,
    received_at BIGINT NOT NULL
);
CREATE INDEX usage_batches_by_age ON usage_batches (received_at);

-- `day`: days since 1970 (UTC).
CREATE TABLE daily_usage (
    group_id TEXT COLLATE "BINARY" NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    day BIGINT NOT NULL,
    hits BIGINT NOT NULL,
    misses BIGINT NOT NULL,
    PRIMARY KEY (group_id, day)
);
CREATE INDEX daily_usage_by_age ON daily_usage (day);

-- Linked content that is, or was, not in the store as it should be: the last time for each digest.
CREATE TABLE corruptions (
    digest TEXT COLLATE "BINARY" PRIMARY KEY,
    kind TEXT COLLATE "BINARY" NOT NULL,
    found_bytes BIGINT NOT NULL,
    noticed_at BIGINT NOT NULL,
    healed_at BIGINT
);
CREATE INDEX corruptions_by_healing ON corruptions (healed_at);

-- Jobs for nodes.

-- Jobs that somebody waits for at some replica. `sealed`: what to do, which may hold a password. `reports` counts the
-- reports of the node; `report` (JSON) is the last. `kept_until`: unless the replica that waits for it says so again.
CREATE TABLE jobs (
    id TEXT COLLATE "BINARY" PRIMARY KEY,
    sealed TEXT COLLATE "BINARY" NOT NULL,
    state TEXT COLLATE "BINARY" NOT NULL,
    reports BIGINT NOT NULL,
    report TEXT COLLATE "BINARY" NOT NULL,
    kept_until BIGINT NOT NULL
);

CREATE TABLE prefetch_schedules (
    id TEXT COLLATE "BINARY" PRIMARY KEY,
    group_id TEXT COLLATE "BINARY" NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    upstream TEXT COLLATE "BINARY" NOT NULL,
    repository TEXT COLLATE "BINARY" NOT NULL,
    tag TEXT COLLATE "BINARY" NOT NULL,
    platforms TEXT COLLATE "BINARY" NOT NULL,
    every_ms BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    due_at BIGINT NOT NULL,
    last_run_at BIGINT,
    last_error TEXT COLLATE "BINARY" NOT NULL
);
CREATE INDEX prefetch_schedules_by_group ON prefetch_schedules (group_id, id);
CREATE INDEX prefetch_schedules_by_due ON prefetch_schedules (due_at);

-- The cluster: nodes, leases, single facts.

-- Data-plane nodes as they last reported. `heard_at`: by the control plane's clock. `max_outage_ms`: for how long it
-- serves without word from the control plane. `stopped_at`: when it stopped in order; 0 while it runs. A node that starts
-- again while the control plane is away serves by what it knew then.
CREATE TABLE nodes (
    id TEXT COLLATE "BINARY" PRIMARY KEY,
    name TEXT COLLATE "BINARY" NOT NULL,
    version TEXT COLLATE "BINARY" NOT NULL,
    started_at BIGINT NOT NULL,
    heard_at BIGINT NOT NULL,
    stopped_at BIGINT NOT NULL DEFAULT 0,
    applied_revision BIGINT NOT NULL,
    max_outage_ms BIGINT NOT NULL,
    fills BIGINT NOT NULL,
    served_bytes BIGINT NOT NULL,
    fetched_bytes BIGINT NOT NULL,
    peer_bytes BIGINT NOT NULL,
    peer_url TEXT COLLATE "BINARY" NOT NULL,
    store_id TEXT COLLATE "BINARY" NOT NULL,
    store_total_bytes BIGINT NOT NULL,
    store_available_bytes BIGINT NOT NULL
);
CREATE INDEX nodes_by_heard ON nodes (heard_at);

-- Who does what only one may do at a time: background work of the control plane, downloads, checks of tags. `expires_at`
-- is by the control plane's clock; 0 once released. `epoch` goes up with each grant and is at least the time of it, so
-- that it never repeats, even where the row was forgotten in between.
CREATE TABLE leases (
    name TEXT COLLATE "BINARY" PRIMARY KEY,
    holder TEXT COLLATE "BINARY" NOT NULL,
    epoch BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    detail TEXT COLLATE "BINARY" NOT NULL
);
CREATE INDEX leases_by_expiry ON leases (expires_at);

-- Single facts, by name.
CREATE TABLE facts (
    name TEXT COLLATE "BINARY" PRIMARY KEY,
    value TEXT COLLATE "BINARY" NOT NULL
);

-- The audit.

-- Who changed what, and who was refused. `id` is a UUIDv7: its order is that of time.
CREATE TABLE audit (
    id TEXT COLLATE "BINARY" PRIMARY KEY,
    at BIGINT NOT NULL,
    actor TEXT COLLATE "BINARY" NOT NULL,
    client_address TEXT COLLATE "BINARY" NOT NULL,
    action TEXT COLLATE "BINARY" NOT NULL,
    subject TEXT COLLATE "BINARY" NOT NULL,
    group_path TEXT COLLATE "BINARY" NOT NULL,
    outcome TEXT COLLATE "BINARY" NOT NULL,
    detail TEXT COLLATE "BINARY" NOT NULL,
    count BIGINT NOT NULL
);
CREATE INDEX audit_by_group ON audit (group_path, id);
CREATE INDEX audit_by_age ON audit (at);

-- Which groups may read an event: the one concerned and those above it, as they were then. By id, because a path may come
-- to mean another group, whose owners must not read what was recorded of the earlier one. Outlives the groups.
CREATE TABLE audit_groups (
    event_id TEXT COLLATE "BINARY" NOT NULL,
    group_id TEXT COLLATE "BINARY" NOT NULL,
    PRIMARY KEY (event_id, group_id)
);

-- Requests.

-- Requests that created something, by the ids that their callers chose: a repeat answers with the same object.
-- `sealed_secret`: of a token, for the hour in which a repeat answers it; otherwise empty.
CREATE TABLE requests (
    caller TEXT COLLATE "BINARY" NOT NULL,
    id TEXT COLLATE "BINARY" NOT NULL,
    fingerprint TEXT COLLATE "BINARY" NOT NULL,
    object TEXT COLLATE "BINARY" NOT NULL,
    sealed_secret TEXT COLLATE "BINARY" NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (caller, id)
);
CREATE INDEX requests_by_age ON requests (created_at);
