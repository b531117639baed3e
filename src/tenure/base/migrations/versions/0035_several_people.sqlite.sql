ALTER TABLE approval ADD COLUMN grounds TEXT DEFAULT '' NOT NULL
;;
ALTER TABLE approval ADD COLUMN on_behalf_of TEXT
;;
ALTER TABLE approval ADD COLUMN demands TEXT DEFAULT '[]' NOT NULL
;;
ALTER TABLE approval ADD COLUMN given TEXT DEFAULT '[]' NOT NULL
;;
ALTER TABLE approval ADD COLUMN decided_for TEXT
;;
CREATE TABLE approval_stand_in (
	id VARCHAR(64) NOT NULL, 
	workspace VARCHAR(63) NOT NULL, 
	person VARCHAR(254) NOT NULL, 
	stand_in VARCHAR(254) NOT NULL, 
	agents TEXT NOT NULL, 
	tools TEXT NOT NULL, 
	begins_at BIGINT NOT NULL, 
	ends_at BIGINT NOT NULL, 
	reason TEXT NOT NULL, 
	made_at BIGINT NOT NULL, 
	ended_at BIGINT, 
	ended_by VARCHAR(254) NOT NULL, 
	CONSTRAINT pk_approval_stand_in PRIMARY KEY (id)
)
;;
CREATE INDEX ix_approval_stand_in_ends_at ON approval_stand_in (workspace, ends_at)
