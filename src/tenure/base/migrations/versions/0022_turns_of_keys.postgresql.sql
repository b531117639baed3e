ALTER TABLE identity_key ADD COLUMN signs_at BIGINT
;;
UPDATE identity_key SET signs_at = created_at
