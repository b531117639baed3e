CREATE TABLE oauth_program (
	workspace VARCHAR(63) NOT NULL, 
	id VARCHAR(64) NOT NULL, 
	name VARCHAR(80) NOT NULL, 
	redirects JSON NOT NULL, 
	how VARCHAR(16) NOT NULL, 
	created_at BIGINT NOT NULL, 
	created_by VARCHAR(254) NOT NULL, 
	CONSTRAINT pk_oauth_program PRIMARY KEY (workspace, id)
)
;;
CREATE TABLE oauth_login (
	workspace VARCHAR(63) NOT NULL, 
	id VARCHAR(32) NOT NULL, 
	email VARCHAR(191) NOT NULL, 
	agent VARCHAR(63) NOT NULL, 
	program VARCHAR(500) NOT NULL, 
	program_name VARCHAR(80) NOT NULL, 
	how VARCHAR(16) NOT NULL, 
	redirect TEXT NOT NULL, 
	audience VARCHAR(500) NOT NULL, 
	scopes JSON NOT NULL, 
	challenge VARCHAR(43) NOT NULL, 
	epoch INTEGER NOT NULL, 
	jkt VARCHAR(43) NOT NULL, 
	session VARCHAR(64) NOT NULL, 
	allowed_at BIGINT NOT NULL, 
	expires_at BIGINT NOT NULL, 
	begun_at BIGINT, 
	last_used_at BIGINT, 
	ended_at BIGINT, 
	ended_by VARCHAR(254) NOT NULL, 
	why VARCHAR(63) NOT NULL, 
	CONSTRAINT pk_oauth_login PRIMARY KEY (workspace, id)
)
;;
CREATE INDEX ix_oauth_login_email ON oauth_login (workspace, email)
;;
CREATE TABLE oauth_shown (
	hash VARCHAR(64) NOT NULL, 
	workspace VARCHAR(63) NOT NULL, 
	login VARCHAR(32) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	until BIGINT NOT NULL, 
	used_at BIGINT, 
	CONSTRAINT pk_oauth_shown PRIMARY KEY (hash)
)
;;
CREATE INDEX ix_oauth_shown_login ON oauth_shown (workspace, login)
