-- CI without secrets: issuers that an administrator allowed, and what groups trust of them.

CREATE TABLE oidc_issuers (
    url TEXT PRIMARY KEY,
    created_at BIGINT NOT NULL
);

-- `claims`: JSON, a list of [claim, pattern].
CREATE TABLE oidc_trusts (
    id TEXT PRIMARY KEY,
    group_id TEXT NOT NULL REFERENCES groups (id),
    issuer TEXT NOT NULL REFERENCES oidc_issuers (url),
    audience TEXT NOT NULL,
    claims TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX oidc_trusts_by_group ON oidc_trusts (group_id, id);
CREATE INDEX oidc_trusts_by_issuer ON oidc_trusts (issuer, audience);
