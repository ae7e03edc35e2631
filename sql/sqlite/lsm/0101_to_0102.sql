-- A shard's local store from version 1.1 to 1.2: between the two only procedures of the reference library differ, and
-- there are none here. Safe to run twice.

UPDATE "__ShardManagement.ShardMapManagerLocal" SET "StoreVersionMinor" = 2
WHERE "StoreVersionMajor" = 1 AND "StoreVersionMinor" < 2;
