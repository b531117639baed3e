CREATE TABLE alert (
	id VARCHAR(32) NOT NULL, 
	workspace VARCHAR(63) NOT NULL, 
	rule VARCHAR(63) NOT NULL, 
	agent VARCHAR(63) NOT NULL, 
	severity VARCHAR(16) NOT NULL, 
	words TEXT NOT NULL, 
	value DOUBLE NOT NULL, 
	raised_at BIGINT NOT NULL, 
	met_at BIGINT NOT NULL, 
	over_at BIGINT, 
	evidence TEXT NOT NULL, 
	seen_by VARCHAR(254) NOT NULL, 
	seen_at BIGINT, 
	note TEXT NOT NULL, 
	quiet_until BIGINT, 
	CONSTRAINT pk_alert PRIMARY KEY (id)
)
;;
CREATE INDEX ix_alert_workspace_over_at ON alert (workspace, over_at)
;;
CREATE TABLE alert_rule (
	workspace VARCHAR(63) NOT NULL, 
	name VARCHAR(63) NOT NULL, 
	measure VARCHAR(32) NOT NULL, 
	way VARCHAR(16) NOT NULL, 
	bound DOUBLE NOT NULL, 
	over_s INTEGER NOT NULL, 
	against_s INTEGER NOT NULL, 
	at_least INTEGER NOT NULL, 
	"each" VARCHAR(16) NOT NULL, 
	agents TEXT NOT NULL, 
	severity VARCHAR(16) NOT NULL, 
	about TEXT NOT NULL, 
	off BOOLEAN NOT NULL, 
	set_by VARCHAR(254) NOT NULL, 
	set_at BIGINT NOT NULL, 
	CONSTRAINT pk_alert_rule PRIMARY KEY (workspace, name)
)
