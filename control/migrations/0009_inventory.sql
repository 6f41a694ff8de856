-- Lists in every order by keys: what they are sorted by is kept beside the links. And hits and misses by day.

-- `held_bytes`: of a blob its size; of a manifest its size and that of all linked beside it that it refers to, each once.
-- `parents`: how many manifests linked beside it refer to it.
-- `pulled_at`: as last_pulled_at, but 0 for never: a key of lists needs a value.
ALTER TABLE links ADD COLUMN held_bytes BIGINT NOT NULL DEFAULT 0;
ALTER TABLE links ADD COLUMN parents BIGINT NOT NULL DEFAULT 0;
ALTER TABLE links ADD COLUMN pulled_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE links ADD COLUMN pulls BIGINT NOT NULL DEFAULT 0;
-- The manifests that refer to some content.
CREATE INDEX manifest_references_by_child ON manifest_references (child, manifest);

UPDATE links SET pulled_at = COALESCE(last_pulled_at, 0),
    held_bytes = COALESCE((SELECT size_bytes FROM contents WHERE contents.digest = links.digest), 0);
UPDATE links SET held_bytes = (
    WITH RECURSIVE held (digest, kind) AS (
        SELECT own.digest, own.kind FROM links AS own WHERE own.group_id = links.group_id
            AND own.upstream = links.upstream AND own.repository = links.repository AND own.digest = links.digest
        UNION
        SELECT beside.digest, beside.kind FROM held CROSS JOIN manifest_references CROSS JOIN links AS beside
        WHERE manifest_references.manifest = held.digest AND beside.group_id = links.group_id
            AND beside.upstream = links.upstream AND beside.repository = links.repository
            AND beside.digest = manifest_references.child AND held.kind = 'manifest')
    SELECT CAST(COALESCE(SUM(contents.size_bytes), 0) AS BIGINT) FROM held
    JOIN contents ON contents.digest = held.digest)
WHERE kind = 'manifest';
UPDATE links SET parents = (
    SELECT COUNT(*) FROM manifest_references CROSS JOIN links AS beside
    WHERE beside.group_id = links.group_id AND beside.upstream = links.upstream
        AND beside.repository = links.repository AND beside.digest = manifest_references.manifest
        AND beside.kind = 'manifest' AND manifest_references.child = links.digest
        AND manifest_references.manifest <> links.digest);

-- The group comes second: an index that holds all columns and begins with the group would be taken for the lookup of one
-- digest by a database without statistics, and be gone through from end to end.
DROP INDEX links_by_digest;
DROP INDEX links_by_kind;
CREATE INDEX links_by_digest ON links (digest, group_id, kind, upstream, repository);
CREATE INDEX links_by_kind ON links (kind, group_id, upstream, repository, digest);
CREATE INDEX links_by_size ON links (kind, group_id, held_bytes, upstream, repository, digest);
CREATE INDEX links_by_pulled ON links (kind, group_id, pulled_at, upstream, repository, digest);
CREATE INDEX links_by_pulls ON links (kind, group_id, pulls, upstream, repository, digest);
-- What nobody has used for long.
CREATE INDEX links_by_use ON links (group_id, (COALESCE(last_pulled_at, cached_at)), upstream, repository);

-- `served`: what the tag means to those who pull it: what it is pinned to, else `digest`.
ALTER TABLE tags ADD COLUMN served TEXT NOT NULL DEFAULT '';
UPDATE tags SET served = COALESCE((SELECT tag_pins.digest FROM tag_pins
    WHERE tag_pins.group_id = tags.group_id AND tag_pins.upstream = tags.upstream
        AND tag_pins.repository = tags.repository AND tag_pins.tag = tags.tag), digest);
CREATE INDEX tags_by_served ON tags (group_id, upstream, repository, served, tag);

-- One row for each repository that a group has links of, kept along with the links. `pulls`: of manifests.
CREATE TABLE images (
    group_id TEXT NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    upstream TEXT NOT NULL,
    repository TEXT NOT NULL,
    manifests BIGINT NOT NULL,
    blobs BIGINT NOT NULL,
    size_bytes BIGINT NOT NULL,
    pulls BIGINT NOT NULL,
    pulled_at BIGINT NOT NULL,
    cached_at BIGINT NOT NULL,
    PRIMARY KEY (group_id, upstream, repository)
);
INSERT INTO images (group_id, upstream, repository, manifests, blobs, size_bytes, pulls, pulled_at, cached_at)
    SELECT group_id, upstream, repository, CAST(SUM(CASE WHEN kind = 'manifest' THEN 1 ELSE 0 END) AS BIGINT),
        CAST(SUM(CASE WHEN kind = 'manifest' THEN 0 ELSE 1 END) AS BIGINT), CAST(SUM(contents.size_bytes) AS BIGINT), 0,
        MAX(CASE WHEN kind = 'manifest' THEN pulled_at ELSE 0 END), MIN(cached_at)
    FROM links JOIN contents ON contents.digest = links.digest
    GROUP BY group_id, upstream, repository;
CREATE INDEX images_by_size ON images (group_id, size_bytes, upstream, repository);
CREATE INDEX images_by_pulled ON images (group_id, pulled_at, upstream, repository);
CREATE INDEX images_by_pulls ON images (group_id, pulls, upstream, repository);

-- What each group holds, each digest once: kept along with the links.
CREATE TABLE group_holdings (
    group_id TEXT PRIMARY KEY REFERENCES groups (id) ON DELETE CASCADE,
    blobs BIGINT NOT NULL,
    bytes BIGINT NOT NULL
);
INSERT INTO group_holdings (group_id, blobs, bytes)
    SELECT held.group_id, CAST(SUM(held.blobs) AS BIGINT), CAST(SUM(contents.size_bytes) AS BIGINT)
    FROM (SELECT group_id, digest, MAX(CASE WHEN kind = 'manifest' THEN 0 ELSE 1 END) AS blobs
          FROM links GROUP BY group_id, digest) AS held
    JOIN contents ON contents.digest = held.digest GROUP BY held.group_id;

-- `day`: days since 1970 (UTC).
CREATE TABLE daily_usage (
    group_id TEXT NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    day BIGINT NOT NULL,
    hits BIGINT NOT NULL,
    misses BIGINT NOT NULL,
    PRIMARY KEY (group_id, day)
);
CREATE INDEX daily_usage_by_age ON daily_usage (day);
