ALTER TABLE notify_destination ADD COLUMN bundle_s INTEGER DEFAULT '60' NOT NULL
;;
ALTER TABLE notify_delivery ADD COLUMN open BOOLEAN DEFAULT false NOT NULL
;;
ALTER TABLE notify_delivery ADD COLUMN "window" BIGINT
