CREATE TABLE fork (
	id VARCHAR(64) NOT NULL, 
	workspace VARCHAR(63) NOT NULL, 
	trace_id VARCHAR(64) NOT NULL, 
	"of" VARCHAR(64) NOT NULL, 
	step INTEGER NOT NULL, 
	agent VARCHAR(63) NOT NULL, 
	model TEXT NOT NULL, 
	changed TEXT NOT NULL, 
	policy TEXT NOT NULL, 
	go_on BOOLEAN NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	detail TEXT NOT NULL, 
	turns INTEGER NOT NULL, 
	"by" VARCHAR(254) NOT NULL, 
	asked_at BIGINT NOT NULL, 
	at BIGINT NOT NULL, 
	ended_at BIGINT, 
	CONSTRAINT pk_fork PRIMARY KEY (id)
)
;;
CREATE INDEX ix_fork_of ON fork (workspace, "of")
;;
CREATE INDEX ix_fork_state ON fork (state)
