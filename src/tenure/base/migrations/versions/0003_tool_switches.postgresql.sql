CREATE TABLE tool_switch (
	workspace VARCHAR(63) NOT NULL, 
	server VARCHAR(63) NOT NULL, 
	tool VARCHAR(128) NOT NULL, 
	agent VARCHAR(63) NOT NULL, 
	reason TEXT NOT NULL, 
	by VARCHAR(254) NOT NULL, 
	since BIGINT NOT NULL, 
	CONSTRAINT pk_tool_switch PRIMARY KEY (workspace, server, tool, agent)
)
