-- Who does what only one may do at a time: background work of the control plane, downloads, checks of tags. `expires_at` is by
-- the control plane's clock; 0 once released. `epoch` goes up with each grant and is at least the time of it, so that it never
-- repeats, even where the row was forgotten in between.
CREATE TABLE leases (
    name TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    detail TEXT NOT NULL
);
CREATE INDEX leases_by_expiry ON leases (expires_at);
