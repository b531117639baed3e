CREATE TABLE autonomy_floor (
	workspace VARCHAR(63) NOT NULL, 
	level VARCHAR(16) NOT NULL, 
	by VARCHAR(254) NOT NULL, 
	since BIGINT NOT NULL, 
	reason TEXT NOT NULL, 
	CONSTRAINT pk_autonomy_floor PRIMARY KEY (workspace)
)
;;
CREATE TABLE autonomy_notice (
	workspace VARCHAR(63) NOT NULL, 
	agent VARCHAR(63) NOT NULL, 
	resource VARCHAR(400) NOT NULL, 
	calls BIGINT NOT NULL, 
	first_at BIGINT NOT NULL, 
	last_at BIGINT NOT NULL, 
	call_id VARCHAR(64) NOT NULL, 
	trace_id VARCHAR(64), 
	CONSTRAINT pk_autonomy_notice PRIMARY KEY (workspace, agent, resource)
)
