CREATE TABLE subject_key (
  id BIGSERIAL NOT NULL,
  workspace VARCHAR(63) NOT NULL,
  subject TEXT,
  mark VARCHAR(64) NOT NULL,
  kek TEXT,
  wrapped TEXT,
  destroyed_at BIGINT,
  CONSTRAINT pk_subject_key PRIMARY KEY (id),
  CONSTRAINT ck_subject_key_destroyed CHECK ((wrapped IS NULL) = (destroyed_at IS NOT NULL)),
  CONSTRAINT one_key UNIQUE (workspace, subject)
)
;;
CREATE INDEX ix_subject_key_mark ON subject_key (workspace, mark)
;;
CREATE TABLE erasure (
  id VARCHAR(32) NOT NULL,
  workspace VARCHAR(63) NOT NULL,
  subject TEXT NOT NULL,
  asked_by VARCHAR(254) NOT NULL,
  asked_at BIGINT NOT NULL,
  reason TEXT NOT NULL,
  upto BIGINT NOT NULL,
  done_at BIGINT,
  events INTEGER NOT NULL,
  approvals INTEGER NOT NULL,
  CONSTRAINT pk_erasure PRIMARY KEY (id)
)
;;
CREATE INDEX ix_erasure_done_at ON erasure (done_at)
