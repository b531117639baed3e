CREATE TABLE trust_rule (
	workspace VARCHAR(63) NOT NULL, 
	name VARCHAR(63) NOT NULL, 
	agent VARCHAR(63) NOT NULL, 
	issuer VARCHAR(500) NOT NULL, 
	subject VARCHAR(500) NOT NULL, 
	audience VARCHAR(500) NOT NULL, 
	claims TEXT NOT NULL, 
	keys TEXT NOT NULL, 
	authorities TEXT NOT NULL, 
	expires_at BIGINT NOT NULL, 
	created_at BIGINT NOT NULL, 
	created_by VARCHAR(254) NOT NULL, 
	CONSTRAINT pk_trust_rule PRIMARY KEY (workspace, name)
)
;;
CREATE INDEX ix_trust_rule_agent ON trust_rule (workspace, agent)
