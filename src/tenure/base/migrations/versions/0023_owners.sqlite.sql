CREATE TABLE owner_handover (
	workspace VARCHAR(63) NOT NULL, 
	id VARCHAR(32) NOT NULL, 
	agent VARCHAR(63) NOT NULL, 
	role VARCHAR(16) NOT NULL, 
	giver VARCHAR(254) NOT NULL, 
	receiver VARCHAR(254) NOT NULL, 
	note TEXT NOT NULL, 
	offered_by VARCHAR(254) NOT NULL, 
	offered_at BIGINT NOT NULL, 
	expires_at BIGINT NOT NULL, 
	declared BOOLEAN NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	answered_by VARCHAR(254), 
	answered_at BIGINT, 
	answer TEXT NOT NULL, 
	checklist JSON, 
	CONSTRAINT pk_owner_handover PRIMARY KEY (id)
)
;;
CREATE INDEX ix_owner_handover_agent ON owner_handover (workspace, agent, offered_at)
;;
CREATE INDEX ix_owner_handover_state ON owner_handover (state, expires_at)
;;
CREATE TABLE owner_confirmation (
	workspace VARCHAR(63) NOT NULL, 
	agent VARCHAR(63) NOT NULL, 
	email VARCHAR(254) NOT NULL, 
	at BIGINT NOT NULL, 
	CONSTRAINT pk_owner_confirmation PRIMARY KEY (workspace, agent, email)
)
;;
CREATE TABLE owner_concern (
	workspace VARCHAR(63) NOT NULL, 
	agent VARCHAR(63) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	since BIGINT NOT NULL, 
	raised_at BIGINT NOT NULL, 
	due BIGINT, 
	told TEXT NOT NULL, 
	suspended_at BIGINT, 
	CONSTRAINT pk_owner_concern PRIMARY KEY (workspace, agent, kind)
)
;;
CREATE TABLE owner_activity (
	workspace VARCHAR(63) NOT NULL, 
	agent VARCHAR(63) NOT NULL, 
	at BIGINT NOT NULL, 
	CONSTRAINT pk_owner_activity PRIMARY KEY (workspace, agent)
)
;;
ALTER TABLE agent ADD COLUMN pending_owner VARCHAR(254)
;;
ALTER TABLE agent ADD COLUMN pending_sponsor VARCHAR(254)
;;
ALTER TABLE agent ADD COLUMN pending_by VARCHAR(254)
;;
ALTER TABLE agent ADD COLUMN pending_since BIGINT
