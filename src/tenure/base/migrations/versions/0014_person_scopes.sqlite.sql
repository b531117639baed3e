CREATE TABLE identity_person_scope (
	workspace VARCHAR(63) NOT NULL, 
	email VARCHAR(191) NOT NULL, 
	scopes TEXT, 
	gone BOOLEAN NOT NULL, 
	changed_at BIGINT NOT NULL, 
	changed_by VARCHAR(254) NOT NULL, 
	CONSTRAINT pk_identity_person_scope PRIMARY KEY (workspace, email)
)
