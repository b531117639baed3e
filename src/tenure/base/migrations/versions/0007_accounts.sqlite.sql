CREATE TABLE identity_password (
	workspace VARCHAR(63) NOT NULL,
	email VARCHAR(191) NOT NULL,
	hash TEXT NOT NULL,
	changed_at BIGINT NOT NULL,
	CONSTRAINT pk_identity_password PRIMARY KEY (workspace, email)
)
;;
CREATE TABLE identity_passkey (
	id VARCHAR(64) NOT NULL,
	workspace VARCHAR(63) NOT NULL,
	email VARCHAR(191) NOT NULL,
	name VARCHAR(100) NOT NULL,
	public_key TEXT NOT NULL,
	sign_count BIGINT NOT NULL,
	created_at BIGINT NOT NULL,
	last_used_at BIGINT,
	CONSTRAINT pk_identity_passkey PRIMARY KEY (id)
)
;;
CREATE TABLE identity_challenge (
	hash VARCHAR(64) NOT NULL,
	workspace VARCHAR(63) NOT NULL,
	kind VARCHAR(16) NOT NULL,
	data TEXT NOT NULL,
	expires_at BIGINT NOT NULL,
	CONSTRAINT pk_identity_challenge PRIMARY KEY (hash)
)
;;
CREATE TABLE identity_device (
	hash VARCHAR(64) NOT NULL,
	workspace VARCHAR(63) NOT NULL,
	email VARCHAR(191) NOT NULL,
	expires_at BIGINT NOT NULL,
	CONSTRAINT pk_identity_device PRIMARY KEY (hash)
)
;;
