CREATE TABLE search_vector (
	workspace VARCHAR(63) NOT NULL, 
	model VARCHAR(200) NOT NULL, 
	mark VARCHAR(71) NOT NULL, 
	vector BLOB NOT NULL, 
	CONSTRAINT pk_search_vector PRIMARY KEY (workspace, model, mark)
)
