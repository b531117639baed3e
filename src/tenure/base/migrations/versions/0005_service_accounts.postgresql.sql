CREATE TABLE identity_service (
	workspace VARCHAR(63) NOT NULL,
	name VARCHAR(63) NOT NULL,
	roles TEXT NOT NULL,
	created_at BIGINT NOT NULL,
	created_by VARCHAR(254) NOT NULL,
	CONSTRAINT pk_identity_service PRIMARY KEY (workspace, name)
)
;;
ALTER TABLE identity_api_token ADD COLUMN service VARCHAR(63)
;;
ALTER TABLE identity_api_token ADD COLUMN prefix VARCHAR(16) DEFAULT '' NOT NULL
;;
ALTER TABLE identity_api_token ADD COLUMN scopes TEXT
;;
ALTER TABLE identity_api_token ADD COLUMN last_used_at BIGINT
;;
