CREATE TABLE tool_definition (
	workspace VARCHAR(63) NOT NULL, 
	fingerprint VARCHAR(71) NOT NULL, 
	content VARCHAR(71) NOT NULL, 
	parts JSON NOT NULL, 
	body TEXT, 
	CONSTRAINT pk_tool_definition PRIMARY KEY (workspace, fingerprint)
)
;;
CREATE TABLE tool_pin (
	workspace VARCHAR(63) NOT NULL, 
	agent VARCHAR(63) NOT NULL, 
	server VARCHAR(63) NOT NULL, 
	tool VARCHAR(128) NOT NULL, 
	pinned VARCHAR(71), 
	pinned_by VARCHAR(254) NOT NULL, 
	pinned_at BIGINT, 
	seen VARCHAR(71), 
	seen_at BIGINT, 
	"like" TEXT NOT NULL, 
	rejected_by VARCHAR(254) NOT NULL, 
	reason TEXT NOT NULL, 
	CONSTRAINT pk_tool_pin PRIMARY KEY (workspace, agent, server, tool)
)
