-- Which upstreams a content was fetched from, whole and hashed. At one of these an answer to a HEAD proves a group's right to it;
-- at any other upstream a group has to fetch it. The rows go with the content, and with the upstream's address.
CREATE TABLE content_sources (
    digest TEXT NOT NULL,
    upstream TEXT NOT NULL,
    PRIMARY KEY (digest, upstream)
);
CREATE INDEX content_sources_by_upstream ON content_sources (upstream);
