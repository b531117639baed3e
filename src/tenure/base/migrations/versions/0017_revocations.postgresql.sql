CREATE TABLE revocation (
	id VARCHAR(32) NOT NULL, 
	workspace VARCHAR(63) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	subject VARCHAR(254) NOT NULL, 
	before BIGINT NOT NULL, 
	since BIGINT NOT NULL, 
	until BIGINT, 
	actor VARCHAR(254) NOT NULL, 
	reason TEXT NOT NULL, 
	CONSTRAINT pk_revocation PRIMARY KEY (id)
)
;;
CREATE INDEX ix_revocation_of ON revocation (workspace, kind, subject)
