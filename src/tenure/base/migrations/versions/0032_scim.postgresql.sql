CREATE TABLE scim_user (
	workspace VARCHAR(63) NOT NULL, 
	id VARCHAR(32) NOT NULL, 
	user_name VARCHAR(1000) NOT NULL, 
	external_id VARCHAR(1000), 
	email VARCHAR(191) NOT NULL, 
	active BOOLEAN NOT NULL, 
	attributes JSON NOT NULL, 
	created_at BIGINT NOT NULL, 
	modified_at BIGINT NOT NULL, 
	CONSTRAINT pk_scim_user PRIMARY KEY (workspace, id)
)
;;
CREATE UNIQUE INDEX ix_scim_user_email ON scim_user (workspace, email)
;;
CREATE INDEX ix_scim_user_name ON scim_user (workspace, user_name)
