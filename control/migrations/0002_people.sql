-- People, their roles, all kinds of tokens, and paths that groups had.

-- `password_hash`: Argon2id, in PHC form. `epoch`: registry tokens that carry a lower one are void.
CREATE TABLE users (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    password_hash TEXT NOT NULL,
    admin BIGINT NOT NULL,
    disabled BIGINT NOT NULL,
    etag BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    last_seen_at BIGINT
);

CREATE TABLE memberships (
    group_id TEXT NOT NULL REFERENCES groups (id),
    user_id TEXT NOT NULL REFERENCES users (id),
    role TEXT NOT NULL,
    added_at BIGINT NOT NULL,
    PRIMARY KEY (group_id, user_id)
);
CREATE INDEX memberships_by_user ON memberships (user_id);

-- The same lists as groups.old_paths, for finding a group by a path that it had. None of them is any group's path.
CREATE TABLE group_old_paths (
    path TEXT PRIMARY KEY,
    group_id TEXT NOT NULL REFERENCES groups (id)
);
CREATE INDEX group_old_paths_by_group ON group_old_paths (group_id);

ALTER TABLE groups ADD COLUMN old_paths TEXT NOT NULL DEFAULT '';
ALTER TABLE groups ADD COLUMN retention_ms BIGINT NOT NULL DEFAULT 0;

-- Tokens anew: user names are not unique any more, because personal tokens go by the person's name.
CREATE TABLE tokens_of_all_kinds (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    username TEXT NOT NULL,
    group_id TEXT REFERENCES groups (id),
    user_id TEXT REFERENCES users (id),
    role TEXT,
    secret_hash TEXT NOT NULL UNIQUE,
    scopes TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    last_used_at BIGINT
);
INSERT INTO tokens_of_all_kinds
    (id, kind, name, username, group_id, secret_hash, scopes, created_at, expires_at, last_used_at)
    SELECT id, kind, name, username, group_id, secret_hash, scopes, created_at, expires_at, last_used_at FROM tokens;
DROP TABLE tokens;
ALTER TABLE tokens_of_all_kinds RENAME TO tokens;
CREATE INDEX tokens_by_group ON tokens (group_id, id);
CREATE INDEX tokens_by_user ON tokens (user_id, id);

-- Users are revoked like tokens, by their id: registry tokens below this epoch are void. 0 voids all.
ALTER TABLE revocations ADD COLUMN user_epoch BIGINT NOT NULL DEFAULT 0;
