CREATE TABLE policy_schema (
	workspace VARCHAR(63) NOT NULL, 
	digest VARCHAR(71) NOT NULL, 
	text TEXT NOT NULL, 
	at BIGINT NOT NULL, 
	CONSTRAINT pk_policy_schema PRIMARY KEY (workspace, digest)
)
;;
ALTER TABLE policy_version ADD COLUMN schema VARCHAR(71) DEFAULT '' NOT NULL
