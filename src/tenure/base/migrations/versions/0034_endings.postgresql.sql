CREATE TABLE connector_ending (
	id VARCHAR(32) NOT NULL, 
	workspace VARCHAR(63) NOT NULL, 
	connector VARCHAR(63) NOT NULL, 
	email VARCHAR(254) NOT NULL, 
	authorize_url TEXT NOT NULL, 
	token_url TEXT NOT NULL, 
	client_id TEXT NOT NULL, 
	client_secret VARCHAR(63) NOT NULL, 
	attempts INTEGER NOT NULL, 
	due_at BIGINT NOT NULL, 
	CONSTRAINT pk_connector_ending PRIMARY KEY (id)
)
