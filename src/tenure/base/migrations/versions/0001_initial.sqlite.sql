CREATE TABLE approval (
	id VARCHAR(64) NOT NULL, 
	workspace VARCHAR(63) NOT NULL, 
	agent VARCHAR(63) NOT NULL, 
	release TEXT NOT NULL, 
	call_id TEXT NOT NULL, 
	resource TEXT NOT NULL, 
	digest TEXT NOT NULL, 
	policy_version TEXT NOT NULL, 
	purpose TEXT NOT NULL, 
	arguments TEXT NOT NULL, 
	why TEXT NOT NULL, 
	policies TEXT NOT NULL, 
	session TEXT, 
	instance TEXT, 
	trace_id TEXT, 
	span_id TEXT, 
	parent_span_id TEXT, 
	requested_at BIGINT NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	expires_at BIGINT, 
	decided_at BIGINT, 
	decided_by TEXT, 
	reason TEXT NOT NULL, 
	claim TEXT, 
	settled_at BIGINT, 
	CONSTRAINT pk_approval PRIMARY KEY (id), 
	CONSTRAINT ck_approval_state CHECK (state IN ('pending', 'granted', 'rejected', 'expired', 'claimed')), 
	CONSTRAINT ck_approval_claimed_by_one_call CHECK ((state = 'claimed') = (claim IS NOT NULL))
)
;;
CREATE INDEX ix_approval_settled_at ON approval (settled_at)
;;
CREATE INDEX ix_approval_state ON approval (state, expires_at)
;;
CREATE TABLE event_log (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	id VARCHAR(64) NOT NULL, 
	workspace VARCHAR(63) NOT NULL, 
	type VARCHAR(63) NOT NULL, 
	agent VARCHAR(63), 
	time BIGINT NOT NULL, 
	body BLOB NOT NULL, 
	CONSTRAINT uq_event_log_id UNIQUE (id)
)
;;
CREATE TABLE event_cursor (
	consumer VARCHAR(63) NOT NULL, 
	seq BIGINT NOT NULL, 
	CONSTRAINT pk_event_cursor PRIMARY KEY (consumer)
)
;;
CREATE TABLE agent (
	workspace VARCHAR(63) NOT NULL, 
	name VARCHAR(63) NOT NULL, 
	id VARCHAR(32) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	release_digest VARCHAR(71) NOT NULL, 
	pending_release VARCHAR(71), 
	credential_epoch INTEGER NOT NULL, 
	owner VARCHAR(254) NOT NULL, 
	sponsor VARCHAR(254) NOT NULL, 
	framework VARCHAR(500) NOT NULL, 
	risk_tier INTEGER NOT NULL, 
	manifest JSON NOT NULL, 
	created_at BIGINT NOT NULL, 
	updated_at BIGINT NOT NULL, 
	state_since BIGINT NOT NULL, 
	state_reason TEXT NOT NULL, 
	requested_by VARCHAR(254) NOT NULL, 
	drain_until BIGINT, 
	CONSTRAINT pk_agent PRIMARY KEY (workspace, name), 
	CONSTRAINT uq_agent_id UNIQUE (id)
)
;;
CREATE TRIGGER agent_state_legal BEFORE UPDATE OF state ON agent FOR EACH ROW WHEN NEW.state <> OLD.state AND (OLD.state || '>' || NEW.state) NOT IN ('requested>approved', 'requested>rejected', 'rejected>requested', 'approved>created', 'created>provisioned', 'provisioned>staging', 'staging>production', 'production>staging', 'staging>suspended', 'production>suspended', 'draining>suspended', 'suspended>staging', 'suspended>production', 'staging>draining', 'production>draining', 'draining>retired', 'suspended>retired', 'provisioned>retired', 'created>retired', 'approved>retired')
BEGIN SELECT RAISE(ABORT, 'tenure: this lifecycle transition does not exist'); END
;;
CREATE TRIGGER agent_stays_itself BEFORE UPDATE OF workspace, name, id ON agent FOR EACH ROW WHEN NEW.workspace <> OLD.workspace OR NEW.name <> OLD.name OR NEW.id <> OLD.id
BEGIN SELECT RAISE(ABORT, 'tenure: an agent keeps its name'); END
;;
CREATE TRIGGER agent_begins_requested BEFORE INSERT ON agent FOR EACH ROW WHEN NEW.state <> 'requested' OR EXISTS (SELECT 1 FROM agent a WHERE (a.workspace = NEW.workspace AND a.name = NEW.name) OR a.id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'tenure: an agent begins as requested, once'); END
;;
CREATE TRIGGER agent_is_kept BEFORE DELETE ON agent FOR EACH ROW WHEN 1 = 1
BEGIN SELECT RAISE(ABORT, 'tenure: agents are retired, never deleted'); END
;;
CREATE TABLE agent_release (
	workspace VARCHAR(63) NOT NULL, 
	digest VARCHAR(71) NOT NULL, 
	agent VARCHAR(63) NOT NULL, 
	content JSON NOT NULL, 
	created_at BIGINT NOT NULL, 
	created_by VARCHAR(254) NOT NULL, 
	CONSTRAINT pk_agent_release PRIMARY KEY (workspace, digest)
)
;;
CREATE TRIGGER agent_release_unchanged BEFORE UPDATE ON agent_release FOR EACH ROW WHEN 1 = 1
BEGIN SELECT RAISE(ABORT, 'tenure: a release never changes'); END
;;
CREATE TRIGGER agent_release_is_kept BEFORE DELETE ON agent_release FOR EACH ROW WHEN 1 = 1
BEGIN SELECT RAISE(ABORT, 'tenure: releases are kept'); END
;;
CREATE TRIGGER agent_release_once BEFORE INSERT ON agent_release FOR EACH ROW WHEN EXISTS (SELECT 1 FROM agent_release r WHERE r.workspace = NEW.workspace AND r.digest = NEW.digest)
BEGIN SELECT RAISE(ABORT, 'tenure: this release is recorded already'); END
;;
CREATE TABLE agent_transition (
	workspace VARCHAR(63) NOT NULL, 
	agent VARCHAR(63) NOT NULL, 
	seq INTEGER NOT NULL, 
	from_state VARCHAR(16), 
	to_state VARCHAR(16) NOT NULL, 
	actor VARCHAR(254) NOT NULL, 
	reason TEXT NOT NULL, 
	time BIGINT NOT NULL, 
	forced BOOLEAN NOT NULL, 
	CONSTRAINT pk_agent_transition PRIMARY KEY (workspace, agent, seq)
)
;;
CREATE TRIGGER agent_transition_unchanged BEFORE UPDATE ON agent_transition FOR EACH ROW WHEN 1 = 1
BEGIN SELECT RAISE(ABORT, 'tenure: history never changes'); END
;;
CREATE TRIGGER agent_transition_is_kept BEFORE DELETE ON agent_transition FOR EACH ROW WHEN 1 = 1
BEGIN SELECT RAISE(ABORT, 'tenure: history is kept'); END
;;
CREATE TRIGGER agent_transition_once BEFORE INSERT ON agent_transition FOR EACH ROW WHEN EXISTS (SELECT 1 FROM agent_transition t WHERE t.workspace = NEW.workspace AND t.agent = NEW.agent AND t.seq = NEW.seq)
BEGIN SELECT RAISE(ABORT, 'tenure: history never changes'); END
;;
CREATE TABLE breaker (
	workspace VARCHAR(63) NOT NULL, 
	agent VARCHAR(63) NOT NULL, 
	epoch BIGINT NOT NULL, 
	tripped_at BIGINT, 
	reason TEXT NOT NULL, 
	reset_by TEXT, 
	reset_reason TEXT NOT NULL, 
	CONSTRAINT pk_breaker PRIMARY KEY (workspace, agent)
)
;;
CREATE TABLE breaker_violation (
	event VARCHAR(64) NOT NULL, 
	workspace VARCHAR(63) NOT NULL, 
	agent VARCHAR(63) NOT NULL, 
	epoch BIGINT NOT NULL, 
	time BIGINT NOT NULL, 
	CONSTRAINT pk_breaker_violation PRIMARY KEY (event)
)
;;
CREATE INDEX ix_breaker_violation_time ON breaker_violation (workspace, agent, epoch, time)
;;
CREATE TABLE identity_key (
	kid VARCHAR(128) NOT NULL, 
	workspace VARCHAR(63) NOT NULL, 
	public TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	retires_at BIGINT, 
	retired BOOLEAN NOT NULL, 
	CONSTRAINT pk_identity_key PRIMARY KEY (kid)
)
;;
CREATE TABLE identity_person (
	workspace VARCHAR(63) NOT NULL, 
	email VARCHAR(191) NOT NULL, 
	roles TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	CONSTRAINT pk_identity_person PRIMARY KEY (workspace, email)
)
;;
CREATE TABLE identity_login_code (
	hash VARCHAR(64) NOT NULL, 
	workspace VARCHAR(63) NOT NULL, 
	email VARCHAR(191) NOT NULL, 
	created_at BIGINT NOT NULL, 
	expires_at BIGINT NOT NULL, 
	used_at BIGINT, 
	CONSTRAINT pk_identity_login_code PRIMARY KEY (hash)
)
;;
CREATE TABLE identity_session (
	hash VARCHAR(64) NOT NULL, 
	workspace VARCHAR(63) NOT NULL, 
	email VARCHAR(191) NOT NULL, 
	expires_at BIGINT NOT NULL, 
	CONSTRAINT pk_identity_session PRIMARY KEY (hash)
)
;;
CREATE TABLE identity_api_token (
	id VARCHAR(32) NOT NULL, 
	hash VARCHAR(64) NOT NULL, 
	workspace VARCHAR(63) NOT NULL, 
	email VARCHAR(191), 
	name VARCHAR(191) NOT NULL, 
	created_at BIGINT NOT NULL, 
	expires_at BIGINT, 
	CONSTRAINT pk_identity_api_token PRIMARY KEY (id), 
	CONSTRAINT uq_identity_api_token_hash UNIQUE (hash)
)
;;
CREATE TABLE identity_login_attempt (
	workspace VARCHAR(63) NOT NULL, 
	source VARCHAR(64) NOT NULL, 
	since BIGINT NOT NULL, 
	failures INTEGER NOT NULL, 
	CONSTRAINT pk_identity_login_attempt PRIMARY KEY (workspace, source)
)
;;
CREATE TABLE policy_version (
	workspace VARCHAR(63) NOT NULL, 
	version VARCHAR(71) NOT NULL, 
	files TEXT NOT NULL, 
	loaded_at BIGINT NOT NULL, 
	actor VARCHAR(255) NOT NULL, 
	CONSTRAINT pk_policy_version PRIMARY KEY (workspace, version)
)
;;
CREATE TABLE policy_state (
	workspace VARCHAR(63) NOT NULL, 
	version VARCHAR(71), 
	seen VARCHAR(71) NOT NULL, 
	problem TEXT, 
	changed_at BIGINT NOT NULL, 
	CONSTRAINT pk_policy_state PRIMARY KEY (workspace)
)
;;
CREATE TABLE flow_lease (
	flow VARCHAR(63) NOT NULL, 
	"key" VARCHAR(191) NOT NULL, 
	holder VARCHAR(63) NOT NULL, 
	fence BIGINT NOT NULL, 
	until BIGINT NOT NULL, 
	CONSTRAINT pk_flow_lease PRIMARY KEY (flow, "key")
)
;;
CREATE TABLE tool_use (
	"key" VARCHAR(32) NOT NULL, 
	workspace VARCHAR(63) NOT NULL, 
	agent VARCHAR(63) NOT NULL, 
	resource TEXT NOT NULL, 
	first_event VARCHAR(64) NOT NULL, 
	first_at BIGINT NOT NULL, 
	CONSTRAINT pk_tool_use PRIMARY KEY ("key")
)
;;
CREATE TABLE audit_entry (
	seq INTEGER NOT NULL, 
	workspace VARCHAR(63) NOT NULL, 
	time_us BIGINT NOT NULL, 
	event VARCHAR(64) NOT NULL, 
	type VARCHAR(63) NOT NULL, 
	actor TEXT NOT NULL, 
	agent VARCHAR(63), 
	digest VARCHAR(80) NOT NULL, 
	facts TEXT NOT NULL, 
	prev VARCHAR(64) NOT NULL, 
	hash VARCHAR(64) NOT NULL, 
	CONSTRAINT pk_audit_entry PRIMARY KEY (seq)
)
;;
CREATE INDEX ix_audit_entry_agent ON audit_entry (workspace, agent, seq)
;;
CREATE TRIGGER audit_entry_no_update BEFORE UPDATE ON audit_entry BEGIN SELECT RAISE(ABORT, 'audit entries are never changed or removed'); END
;;
CREATE TRIGGER audit_entry_no_delete BEFORE DELETE ON audit_entry BEGIN SELECT RAISE(ABORT, 'audit entries are never changed or removed'); END
;;
CREATE TRIGGER audit_entry_no_replace BEFORE INSERT ON audit_entry
            WHEN NEW.seq <= (SELECT coalesce(max(seq), 0) FROM audit_entry)
            BEGIN SELECT RAISE(ABORT, 'audit entries come after those that are there'); END
;;
CREATE TABLE instance (
	id VARCHAR(32) NOT NULL, 
	workspace VARCHAR(63) NOT NULL, 
	agent VARCHAR(63) NOT NULL, 
	release VARCHAR(71) NOT NULL, 
	session VARCHAR(32) NOT NULL, 
	credential_epoch INTEGER NOT NULL, 
	on_behalf_of VARCHAR(254), 
	started_at BIGINT NOT NULL, 
	started_by VARCHAR(254) NOT NULL, 
	heartbeat_at BIGINT NOT NULL, 
	expires_at BIGINT NOT NULL, 
	ended_at BIGINT, 
	"end" VARCHAR(16), 
	exit_code INTEGER, 
	CONSTRAINT pk_instance PRIMARY KEY (id)
)
;;
CREATE INDEX ix_instance_live ON instance (ended_at, heartbeat_at)
;;
CREATE INDEX ix_instance_of_agent ON instance (workspace, agent, started_at)
