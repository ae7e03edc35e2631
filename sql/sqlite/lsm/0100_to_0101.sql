-- A shard's local store from version 1.0 to 1.1: another version table. It runs in one transaction that is the only writer, and
-- only where the table is that of 1.0: elsewhere the first statement fails, as there is no such column.

UPDATE "__ShardManagement.ShardMapManagerLocal" SET "StoreVersion" = 1;
DROP TABLE "__ShardManagement.ShardMapManagerLocal";
CREATE TABLE "__ShardManagement.ShardMapManagerLocal" (
    "StoreVersionMajor" INTEGER NOT NULL,
    "StoreVersionMinor" INTEGER NOT NULL,
    CONSTRAINT "pkShardMapManagerLocal_StoreVersionMajor" PRIMARY KEY ("StoreVersionMajor")
) STRICT;
INSERT INTO "__ShardManagement.ShardMapManagerLocal" ("StoreVersionMajor", "StoreVersionMinor") VALUES (1, 1);
