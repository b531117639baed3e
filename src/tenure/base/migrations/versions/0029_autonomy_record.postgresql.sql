CREATE TABLE autonomy_record (
	workspace VARCHAR(63) NOT NULL, 
	agent VARCHAR(63) NOT NULL, 
	resource VARCHAR(400) NOT NULL, 
	release VARCHAR(80) NOT NULL, 
	declared VARCHAR(16) NOT NULL, 
	good BIGINT NOT NULL, 
	failed BIGINT NOT NULL, 
	overridden BIGINT NOT NULL, 
	bad_since BIGINT NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	since BIGINT, 
	by VARCHAR(254) NOT NULL, 
	reason TEXT NOT NULL, 
	CONSTRAINT pk_autonomy_record PRIMARY KEY (workspace, agent, resource, release)
)
