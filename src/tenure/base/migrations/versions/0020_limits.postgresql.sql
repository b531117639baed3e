CREATE TABLE limit_rule (
	workspace VARCHAR(63) NOT NULL, 
	name VARCHAR(63) NOT NULL, 
	"of" VARCHAR(16) NOT NULL, 
	amount BIGINT NOT NULL, 
	per VARCHAR(16) NOT NULL, 
	each VARCHAR(16) NOT NULL, 
	"only" VARCHAR(200) NOT NULL, 
	sliding BOOLEAN NOT NULL, 
	zone VARCHAR(64) NOT NULL, 
	by VARCHAR(254) NOT NULL, 
	since BIGINT NOT NULL, 
	reason TEXT NOT NULL, 
	CONSTRAINT pk_limit_rule PRIMARY KEY (workspace, name)
)
;;
CREATE TABLE limit_sum (
	workspace VARCHAR(63) NOT NULL, 
	account VARCHAR(700) NOT NULL, 
	period BIGINT NOT NULL, 
	"limit" VARCHAR(400) NOT NULL, 
	amount BIGINT NOT NULL, 
	settled BIGINT NOT NULL, 
	alerted INTEGER NOT NULL, 
	until BIGINT NOT NULL, 
	CONSTRAINT pk_limit_sum PRIMARY KEY (workspace, account, period)
)
;;
CREATE INDEX ix_limit_sum_until ON limit_sum (until)
;;
CREATE TABLE limit_lease (
	workspace VARCHAR(63) NOT NULL, 
	id VARCHAR(64) NOT NULL, 
	account VARCHAR(700) NOT NULL, 
	period BIGINT NOT NULL, 
	until BIGINT NOT NULL, 
	granted BIGINT NOT NULL, 
	told BIGINT NOT NULL, 
	serial BIGINT NOT NULL, 
	others BIGINT NOT NULL, 
	ttl_s FLOAT NOT NULL, 
	retry_s FLOAT NOT NULL, 
	short BOOLEAN NOT NULL, 
	CONSTRAINT pk_limit_lease PRIMARY KEY (workspace, id)
)
;;
CREATE INDEX ix_limit_lease_account ON limit_lease (workspace, account, period)
;;
CREATE INDEX ix_limit_lease_until ON limit_lease (until)
