ALTER TABLE approval ADD COLUMN escalation TEXT
;;
ALTER TABLE approval ADD COLUMN step INTEGER DEFAULT '0' NOT NULL
;;
ALTER TABLE approval ADD COLUMN next_at BIGINT
;;
CREATE INDEX ix_approval_next_at ON approval (state, next_at)
;;
CREATE TABLE approval_ladder (
	workspace VARCHAR(63) NOT NULL, 
	name VARCHAR(63) NOT NULL, 
	agents TEXT NOT NULL, 
	tools TEXT NOT NULL, 
	policies TEXT NOT NULL, 
	steps TEXT NOT NULL, 
	deadline_s INTEGER NOT NULL, 
	at_deadline VARCHAR(16) NOT NULL, 
	reason TEXT NOT NULL, 
	set_at BIGINT NOT NULL, 
	set_by VARCHAR(254) NOT NULL, 
	CONSTRAINT pk_approval_ladder PRIMARY KEY (workspace, name)
)
