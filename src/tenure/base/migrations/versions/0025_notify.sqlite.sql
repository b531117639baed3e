CREATE TABLE notify_destination (
	workspace VARCHAR(63) NOT NULL, 
	name VARCHAR(63) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	url TEXT NOT NULL, 
	secret VARCHAR(63) NOT NULL, 
	"to" TEXT NOT NULL, 
	sender VARCHAR(254) NOT NULL, 
	person VARCHAR(254) NOT NULL, 
	answers BOOLEAN NOT NULL, 
	topics TEXT NOT NULL, 
	agents TEXT NOT NULL, 
	set_at BIGINT NOT NULL, 
	set_by VARCHAR(254) NOT NULL, 
	quiet_until BIGINT, 
	CONSTRAINT pk_notify_destination PRIMARY KEY (workspace, name)
)
;;
CREATE TABLE notify_delivery (
	id VARCHAR(64) NOT NULL, 
	workspace VARCHAR(63) NOT NULL, 
	destination VARCHAR(63) NOT NULL, 
	address VARCHAR(254) NOT NULL, 
	topic VARCHAR(32) NOT NULL, 
	type VARCHAR(63) NOT NULL, 
	agent VARCHAR(63) NOT NULL, 
	approval VARCHAR(64) NOT NULL, 
	digest TEXT NOT NULL, 
	title TEXT NOT NULL, 
	body TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	attempts INTEGER NOT NULL, 
	next_at BIGINT, 
	last_at BIGINT, 
	problem TEXT NOT NULL, 
	CONSTRAINT pk_notify_delivery PRIMARY KEY (id)
)
;;
CREATE INDEX ix_notify_delivery_created_at ON notify_delivery (created_at)
;;
CREATE INDEX ix_notify_delivery_destination ON notify_delivery (workspace, destination, created_at)
;;
CREATE INDEX ix_notify_delivery_next_at ON notify_delivery (state, next_at)
;;
CREATE TABLE notify_link (
	hash VARCHAR(64) NOT NULL, 
	workspace VARCHAR(63) NOT NULL, 
	approval VARCHAR(64) NOT NULL, 
	digest TEXT NOT NULL, 
	person VARCHAR(254) NOT NULL, 
	delivery VARCHAR(64) NOT NULL, 
	expires_at BIGINT NOT NULL, 
	used_at BIGINT, 
	CONSTRAINT pk_notify_link PRIMARY KEY (hash)
)
;;
CREATE INDEX ix_notify_link_expires_at ON notify_link (expires_at)
;;
CREATE INDEX ix_notify_link_person ON notify_link (workspace, person)
