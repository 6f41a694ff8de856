-- How fresh tags must be, group by group; what tags have meant; pins; and what is fetched ahead of pulls.

ALTER TABLE groups ADD COLUMN max_stale_ms BIGINT NOT NULL DEFAULT 604800000;
ALTER TABLE groups ADD COLUMN cooldown_ms BIGINT NOT NULL DEFAULT 0;
ALTER TABLE groups ADD COLUMN missing_tag TEXT NOT NULL DEFAULT 'gone';
-- JSON: read and written as a whole.
ALTER TABLE groups ADD COLUMN tag_rules TEXT NOT NULL DEFAULT '[]';
ALTER TABLE groups ADD COLUMN allowed_images TEXT NOT NULL DEFAULT '';
ALTER TABLE groups ADD COLUMN denied_images TEXT NOT NULL DEFAULT '';

-- When upstream last said something by which `digest` may be served; 0 if it has said otherwise since.
ALTER TABLE tags ADD COLUMN checked_at BIGINT NOT NULL DEFAULT 0;

-- Every digest that a tag has meant upstream. `last_seen` is written when the tag moves on; until then tags.seen_at is later.
CREATE TABLE tag_history (
    group_id TEXT NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    upstream TEXT NOT NULL,
    repository TEXT NOT NULL,
    tag TEXT NOT NULL,
    digest TEXT NOT NULL,
    first_seen BIGINT NOT NULL,
    last_seen BIGINT NOT NULL,
    PRIMARY KEY (group_id, upstream, repository, tag, digest)
);

-- What tags from before this migration mean is the beginning of their history.
INSERT INTO tag_history (group_id, upstream, repository, tag, digest, first_seen, last_seen)
    SELECT group_id, upstream, repository, tag, digest, confirmed_at, confirmed_at FROM tags WHERE digest <> '';

-- Tags that a maintainer fixed to a digest. A setting: no purge takes it.
CREATE TABLE tag_pins (
    group_id TEXT NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    upstream TEXT NOT NULL,
    repository TEXT NOT NULL,
    tag TEXT NOT NULL,
    digest TEXT NOT NULL,
    pinned_at BIGINT NOT NULL,
    PRIMARY KEY (group_id, upstream, repository, tag)
);

CREATE TABLE prefetch_schedules (
    id TEXT PRIMARY KEY,
    group_id TEXT NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    upstream TEXT NOT NULL,
    repository TEXT NOT NULL,
    tag TEXT NOT NULL,
    platforms TEXT NOT NULL,
    every_ms BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    due_at BIGINT NOT NULL,
    last_run_at BIGINT,
    last_error TEXT NOT NULL
);
CREATE INDEX prefetch_schedules_by_group ON prefetch_schedules (group_id, id);
CREATE INDEX prefetch_schedules_by_due ON prefetch_schedules (due_at);
