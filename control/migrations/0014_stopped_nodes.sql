-- When a node stopped in order, in milliseconds since 1970; 0 while it runs. A node that starts again while the control plane
-- is away serves by what it knew then.
ALTER TABLE nodes ADD COLUMN stopped_at BIGINT NOT NULL DEFAULT 0;
