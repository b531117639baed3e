CREATE TABLE external_agent (
	workspace VARCHAR(63) NOT NULL, 
	name VARCHAR(63) NOT NULL, 
	card JSON NOT NULL, 
	url TEXT, 
	rest_url TEXT, 
	protocol VARCHAR(8) NOT NULL, 
	credential_env VARCHAR(128), 
	source TEXT NOT NULL, 
	signature JSON NOT NULL, 
	imported_at BIGINT NOT NULL, 
	imported_by VARCHAR(254) NOT NULL, 
	CONSTRAINT pk_external_agent PRIMARY KEY (workspace, name)
)
