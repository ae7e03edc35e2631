-- The global store from version 1.0 to 1.1: another version table. It runs in one transaction that is the only writer, and
-- only where the table is that of 1.0: elsewhere the first statement fails, as there is no such column.

UPDATE "__ShardManagement.ShardMapManagerGlobal" SET "StoreVersion" = 1;
DROP TABLE "__ShardManagement.ShardMapManagerGlobal";
CREATE TABLE "__ShardManagement.ShardMapManagerGlobal" (
    "StoreVersionMajor" INTEGER NOT NULL,
    "StoreVersionMinor" INTEGER NOT NULL,
    CONSTRAINT "pkShardMapManagerGlobal_StoreVersionMajor" PRIMARY KEY ("StoreVersionMajor")
) STRICT;
INSERT INTO "__ShardManagement.ShardMapManagerGlobal" ("StoreVersionMajor", "StoreVersionMinor") VALUES (1, 1);
