-- Who changed what, and who was refused. `id` is a UUIDv7: its order is that of time.
CREATE TABLE audit (
    id TEXT PRIMARY KEY,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    client_address TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    group_path TEXT NOT NULL,
    outcome TEXT NOT NULL,
    detail TEXT NOT NULL,
    count BIGINT NOT NULL
);
CREATE INDEX audit_by_group ON audit (group_path, id);
CREATE INDEX audit_by_age ON audit (at);
