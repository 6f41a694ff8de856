-- Who is deleting what, what was found in a store, what was found wrong there, and when it was last looked at.

-- `claim_id`: which claim `claimed_at` is of, so that a late confirmation of an earlier one takes nothing. `claimed_by`: the node.
-- `only_store`: found there and nowhere else; nodes with other stores cannot delete it.
ALTER TABLE contents ADD COLUMN claim_id TEXT;
ALTER TABLE contents ADD COLUMN claimed_by TEXT;
ALTER TABLE contents ADD COLUMN only_store TEXT;
-- When its bytes were last handed to a node to be hashed; 0: never.
ALTER TABLE contents ADD COLUMN scrubbed_at BIGINT NOT NULL DEFAULT 0;
CREATE INDEX contents_claimed ON contents (claimed_by);
CREATE INDEX contents_by_scrub ON contents (scrubbed_at);

-- Linked content that is, or was, not in the store as it should be: the last time for each digest.
CREATE TABLE damages (
    digest TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    found_bytes BIGINT NOT NULL,
    noticed_at BIGINT NOT NULL,
    healed_at BIGINT
);
CREATE INDEX damages_by_healing ON damages (healed_at);

-- The distinct contents of a group, in the order of digests.
CREATE INDEX links_by_group_digest ON links (group_id, digest);
