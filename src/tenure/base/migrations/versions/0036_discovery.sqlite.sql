CREATE TABLE discovery_evidence (
	workspace VARCHAR(63) NOT NULL, 
	finding VARCHAR(32) NOT NULL, 
	"key" VARCHAR(32) NOT NULL, 
	channel VARCHAR(16) NOT NULL, 
	"where" TEXT NOT NULL, 
	what TEXT NOT NULL, 
	signs JSON NOT NULL, 
	first_seen BIGINT NOT NULL, 
	last_seen BIGINT NOT NULL, 
	count BIGINT NOT NULL, 
	hints JSON NOT NULL, 
	CONSTRAINT pk_discovery_evidence PRIMARY KEY (finding, "key")
)
;;
CREATE TABLE discovery_finding (
	workspace VARCHAR(63) NOT NULL, 
	id VARCHAR(32) NOT NULL, 
	name TEXT NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	confidence INTEGER NOT NULL, 
	first_seen BIGINT NOT NULL, 
	last_seen BIGINT NOT NULL, 
	count BIGINT NOT NULL, 
	channels JSON NOT NULL, 
	owner VARCHAR(254) NOT NULL, 
	agent VARCHAR(63) NOT NULL, 
	note TEXT NOT NULL, 
	decided_by VARCHAR(254) NOT NULL, 
	decided_at BIGINT, 
	blocked JSON NOT NULL, 
	CONSTRAINT pk_discovery_finding PRIMARY KEY (id)
)
;;
CREATE INDEX ix_discovery_finding_state ON discovery_finding (workspace, state, last_seen)
;;
CREATE TABLE discovery_mark (
	workspace VARCHAR(63) NOT NULL, 
	mark VARCHAR(320) NOT NULL, 
	finding VARCHAR(32) NOT NULL, 
	CONSTRAINT pk_discovery_mark PRIMARY KEY (workspace, mark)
)
;;
CREATE INDEX ix_discovery_mark_finding ON discovery_mark (finding)
