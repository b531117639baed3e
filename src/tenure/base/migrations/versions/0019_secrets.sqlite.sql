CREATE TABLE secret (
	workspace VARCHAR(63) NOT NULL, 
	name VARCHAR(63) NOT NULL, 
	hosts JSON NOT NULL, 
	programs JSON NOT NULL, 
	version BIGINT NOT NULL, 
	created_at BIGINT NOT NULL, 
	created_by VARCHAR(254) NOT NULL, 
	changed_at BIGINT NOT NULL, 
	changed_by VARCHAR(254) NOT NULL, 
	last_used_at BIGINT, 
	CONSTRAINT pk_secret PRIMARY KEY (workspace, name)
)
;;
CREATE TABLE secret_version (
	workspace VARCHAR(63) NOT NULL, 
	name VARCHAR(340) NOT NULL, 
	version BIGINT NOT NULL, 
	kek VARCHAR(254) NOT NULL, 
	wrapped TEXT NOT NULL, 
	nonce BLOB NOT NULL, 
	ciphertext BLOB NOT NULL, 
	until BIGINT, 
	CONSTRAINT pk_secret_version PRIMARY KEY (workspace, name, version)
)
;;
CREATE TABLE connector (
	workspace VARCHAR(63) NOT NULL, 
	name VARCHAR(63) NOT NULL, 
	authorize_url TEXT NOT NULL, 
	token_url TEXT NOT NULL, 
	client_id TEXT NOT NULL, 
	client_secret VARCHAR(63) NOT NULL, 
	scopes JSON NOT NULL, 
	hosts JSON NOT NULL, 
	set_at BIGINT NOT NULL, 
	set_by VARCHAR(254) NOT NULL, 
	CONSTRAINT pk_connector PRIMARY KEY (workspace, name)
)
;;
CREATE TABLE connector_held (
	workspace VARCHAR(63) NOT NULL, 
	connector VARCHAR(63) NOT NULL, 
	email VARCHAR(254) NOT NULL, 
	version BIGINT NOT NULL, 
	connected_at BIGINT NOT NULL, 
	refreshed_at BIGINT, 
	expires_at BIGINT, 
	refresh_at BIGINT, 
	problem TEXT NOT NULL, 
	CONSTRAINT pk_connector_held PRIMARY KEY (workspace, connector, email)
)
;;
CREATE TABLE connector_begun (
	state VARCHAR(64) NOT NULL, 
	workspace VARCHAR(63) NOT NULL, 
	connector VARCHAR(63) NOT NULL, 
	email VARCHAR(254) NOT NULL, 
	binding VARCHAR(64) NOT NULL, 
	verifier VARCHAR(128) NOT NULL, 
	until BIGINT NOT NULL, 
	CONSTRAINT pk_connector_begun PRIMARY KEY (state)
)
