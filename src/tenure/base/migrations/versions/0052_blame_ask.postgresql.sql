CREATE TABLE blame_ask (
	id VARCHAR(64) NOT NULL, 
	workspace VARCHAR(63) NOT NULL, 
	trace_id VARCHAR(64) NOT NULL, 
	model VARCHAR(200) NOT NULL, 
	prompt VARCHAR(32) NOT NULL, 
	steps INTEGER NOT NULL, 
	by VARCHAR(254) NOT NULL, 
	at BIGINT NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	detail TEXT NOT NULL, 
	CONSTRAINT pk_blame_ask PRIMARY KEY (id)
)
;;
CREATE INDEX ix_blame_ask_at ON blame_ask (workspace, at)
;;
CREATE INDEX ix_blame_ask_trace ON blame_ask (workspace, trace_id)
