CREATE TABLE identity_workspace (
	workspace VARCHAR(63) NOT NULL,
	created_at BIGINT NOT NULL,
	created_by VARCHAR(254) NOT NULL,
	CONSTRAINT pk_identity_workspace PRIMARY KEY (workspace)
)
;;
INSERT INTO identity_workspace (workspace, created_at, created_by)
SELECT workspace, min(created_at), 'system:identity' FROM identity_person GROUP BY workspace
;;
ALTER TABLE identity_person ADD COLUMN home VARCHAR(63) DEFAULT '' NOT NULL
;;
DROP TABLE identity_session
;;
CREATE TABLE identity_session (
	hash VARCHAR(64) NOT NULL,
	id VARCHAR(32) NOT NULL,
	workspace VARCHAR(63) NOT NULL,
	email VARCHAR(191) NOT NULL,
	home VARCHAR(63) NOT NULL,
	method VARCHAR(16) NOT NULL,
	created_at BIGINT NOT NULL,
	seen_at BIGINT NOT NULL,
	expires_at BIGINT NOT NULL,
	address VARCHAR(64) NOT NULL,
	browser VARCHAR(191) NOT NULL,
	CONSTRAINT pk_identity_session PRIMARY KEY (hash),
	CONSTRAINT uq_identity_session_id UNIQUE (id)
)
;;
DROP TABLE identity_login_attempt
;;
CREATE TABLE identity_login_attempt (
	workspace VARCHAR(63) NOT NULL,
	source VARCHAR(191) NOT NULL,
	since BIGINT NOT NULL,
	failures INTEGER NOT NULL,
	CONSTRAINT pk_identity_login_attempt PRIMARY KEY (workspace, source)
)
;;
