CREATE TABLE graph_edge (
	workspace VARCHAR(63) NOT NULL, 
	source VARCHAR(220) NOT NULL, 
	target VARCHAR(220) NOT NULL, 
	first_seen BIGINT NOT NULL, 
	last_seen BIGINT NOT NULL, 
	calls BIGINT NOT NULL, 
	errors BIGINT NOT NULL, 
	days JSON NOT NULL, 
	CONSTRAINT pk_graph_edge PRIMARY KEY (workspace, source, target)
)
;;
CREATE INDEX ix_graph_edge_last_seen ON graph_edge (last_seen)
