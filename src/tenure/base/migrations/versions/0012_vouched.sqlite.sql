ALTER TABLE identity_subject ADD COLUMN vouched_until BIGINT DEFAULT 0 NOT NULL
