CREATE TABLE breaker_before AS SELECT * FROM breaker
;;
DROP TABLE breaker
;;
DROP TABLE breaker_violation
;;
CREATE TABLE breaker (
	workspace VARCHAR(63) NOT NULL, 
	scope VARCHAR(16) NOT NULL, 
	name VARCHAR(200) NOT NULL, 
	epoch BIGINT NOT NULL, 
	tripped_at BIGINT, 
	tripped_by TEXT NOT NULL, 
	reason TEXT NOT NULL, 
	trials INTEGER NOT NULL, 
	reset_at BIGINT, 
	reset_by TEXT, 
	reset_reason TEXT NOT NULL, 
	CONSTRAINT pk_breaker PRIMARY KEY (workspace, scope, name)
)
;;
CREATE TABLE breaker_mark (
	event VARCHAR(64) NOT NULL, 
	scope VARCHAR(16) NOT NULL, 
	workspace VARCHAR(63) NOT NULL, 
	name VARCHAR(200) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	epoch BIGINT NOT NULL, 
	time BIGINT NOT NULL, 
	CONSTRAINT pk_breaker_mark PRIMARY KEY (event, scope)
)
;;
CREATE INDEX ix_breaker_mark_time ON breaker_mark (workspace, scope, name, kind, epoch, time)
;;
CREATE TABLE breaker_tally (
	workspace VARCHAR(63) NOT NULL, 
	scope VARCHAR(16) NOT NULL, 
	name VARCHAR(200) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	epoch BIGINT NOT NULL, 
	slot BIGINT NOT NULL, 
	calls BIGINT NOT NULL, 
	amount BIGINT NOT NULL, 
	CONSTRAINT pk_breaker_tally PRIMARY KEY (workspace, scope, name, kind, epoch, slot)
)
;;
CREATE TABLE breaker_trial (
	call VARCHAR(64) NOT NULL, 
	scope VARCHAR(16) NOT NULL, 
	workspace VARCHAR(63) NOT NULL, 
	name VARCHAR(200) NOT NULL, 
	granted_at BIGINT NOT NULL, 
	good BOOLEAN NOT NULL, 
	CONSTRAINT pk_breaker_trial PRIMARY KEY (call, scope)
)
;;
CREATE INDEX ix_breaker_trial_of ON breaker_trial (workspace, scope, name)
;;
CREATE TABLE breaker_limit (
	workspace VARCHAR(63) NOT NULL, 
	scope VARCHAR(16) NOT NULL, 
	name VARCHAR(200) NOT NULL, 
	limits JSON NOT NULL, 
	set_by TEXT NOT NULL, 
	set_at BIGINT NOT NULL, 
	CONSTRAINT pk_breaker_limit PRIMARY KEY (workspace, scope, name)
)
;;
INSERT INTO breaker (workspace, scope, name, epoch, tripped_at, tripped_by, reason, trials, reset_by, reset_reason)
SELECT workspace, 'agent', agent, epoch, tripped_at, '', reason, 0, reset_by, reset_reason FROM breaker_before
;;
DROP TABLE breaker_before
