-- Expired job tokens are looked for again and again.
CREATE INDEX tokens_by_expiry ON tokens (kind, expires_at);
