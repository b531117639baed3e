CREATE TABLE export_destination (
	workspace VARCHAR(63) NOT NULL, 
	name VARCHAR(63) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	url TEXT NOT NULL, 
	secret VARCHAR(63) NOT NULL, 
	project TEXT NOT NULL, 
	content BOOLEAN NOT NULL, 
	cursor BIGINT NOT NULL, 
	sent BIGINT NOT NULL, 
	dropped BIGINT NOT NULL, 
	tries INTEGER NOT NULL, 
	problem TEXT NOT NULL, 
	next_at BIGINT, 
	last_at BIGINT, 
	set_at BIGINT NOT NULL, 
	set_by VARCHAR(254) NOT NULL, 
	CONSTRAINT pk_export_destination PRIMARY KEY (workspace, name)
)
