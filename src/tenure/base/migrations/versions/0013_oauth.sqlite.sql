CREATE TABLE oauth_key (
	workspace VARCHAR(63) NOT NULL, 
	agent VARCHAR(63) NOT NULL, 
	thumbprint VARCHAR(43) NOT NULL, 
	kid VARCHAR(128) NOT NULL, 
	alg VARCHAR(16) NOT NULL, 
	public JSON NOT NULL, 
	name VARCHAR(100) NOT NULL, 
	instance VARCHAR(32) NOT NULL, 
	added_at BIGINT NOT NULL, 
	added_by VARCHAR(254) NOT NULL, 
	expires_at BIGINT NOT NULL, 
	revoked_at BIGINT, 
	revoked_by VARCHAR(254), 
	last_used_at BIGINT, 
	CONSTRAINT pk_oauth_key PRIMARY KEY (workspace, agent, thumbprint)
)
;;
CREATE TABLE oauth_used (
	workspace VARCHAR(63) NOT NULL, 
	what VARCHAR(64) NOT NULL, 
	until BIGINT NOT NULL, 
	CONSTRAINT pk_oauth_used PRIMARY KEY (workspace, what)
)
;;
CREATE INDEX ix_oauth_used_until ON oauth_used (until)
;;
CREATE TABLE oauth_revoked (
	workspace VARCHAR(63) NOT NULL, 
	what VARCHAR(64) NOT NULL, 
	until BIGINT NOT NULL, 
	CONSTRAINT pk_oauth_revoked PRIMARY KEY (workspace, what)
)
;;
CREATE INDEX ix_oauth_revoked_until ON oauth_revoked (until)
