INSERT INTO revocation (id, workspace, kind, subject, "before", since, until, actor, reason)
SELECT substr('i' || what, 1, 32), workspace, 'instance', what, until, 0, until, 'system:oauth', '' FROM oauth_revoked
;;
INSERT INTO revocation (id, workspace, kind, subject, "before", since, until, actor, reason)
SELECT substr('t' || what, 1, 32), workspace, 'token', what, until, 0, until, 'system:oauth', '' FROM oauth_revoked
;;
DROP TABLE oauth_revoked
