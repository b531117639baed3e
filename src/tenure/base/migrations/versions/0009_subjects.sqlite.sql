CREATE TABLE identity_subject (
	subject VARCHAR(64) NOT NULL,
	workspace VARCHAR(63) NOT NULL,
	email VARCHAR(191) NOT NULL,
	CONSTRAINT pk_identity_subject PRIMARY KEY (subject, workspace),
	CONSTRAINT uq_identity_subject_email UNIQUE (workspace, email)
)
;;
