-- Which groups may read an event: the one concerned and those above it, as they were then. By id, because a path may come
-- to mean another group, whose owners must not read what was recorded of the earlier one. Outlives the groups.
CREATE TABLE audit_groups (
    event_id TEXT NOT NULL,
    group_id TEXT NOT NULL,
    PRIMARY KEY (event_id, group_id)
);

-- What was recorded before is of the group that has the path now, if that was there already.
INSERT INTO audit_groups (event_id, group_id)
    SELECT audit.id, groups.id FROM audit
    JOIN groups ON audit.at >= groups.created_at AND (audit.group_path = groups.path
        OR (audit.group_path > groups.path || '/' AND audit.group_path < groups.path || '0'));
