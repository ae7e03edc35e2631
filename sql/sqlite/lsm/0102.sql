-- The local store of a shard at version 1.2. Safe to run twice and by several clients at once: it runs in one
-- transaction that is the only writer. Tables, columns and rules are those of the reference library's store, under
-- quoted names; SessionsEndedLocal is ours.

CREATE TABLE IF NOT EXISTS "__ShardManagement.ShardMapManagerLocal" (
    "StoreVersionMajor" INTEGER NOT NULL,
    "StoreVersionMinor" INTEGER NOT NULL,
    CONSTRAINT "pkShardMapManagerLocal_StoreVersionMajor" PRIMARY KEY ("StoreVersionMajor")
) STRICT;

CREATE TABLE IF NOT EXISTS "__ShardManagement.ShardMapsLocal" (
    "ShardMapId" TEXT NOT NULL,
    "Name" TEXT NOT NULL COLLATE SQL_Latin1_General_CP1_CI_AS,
    "MapType" INTEGER NOT NULL,
    "KeyType" INTEGER NOT NULL,
    "LastOperationId" TEXT NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    CONSTRAINT "pkShardMapsLocal_ShardMapId" PRIMARY KEY ("ShardMapId")
) STRICT;

CREATE TABLE IF NOT EXISTS "__ShardManagement.ShardsLocal" (
    "ShardId" TEXT NOT NULL,
    "Version" TEXT NOT NULL,
    "ShardMapId" TEXT NOT NULL,
    "Protocol" INTEGER NOT NULL,
    "ServerName" TEXT NOT NULL COLLATE SQL_Latin1_General_CP1_CI_AS,
    "Port" INTEGER NOT NULL,
    "DatabaseName" TEXT NOT NULL COLLATE SQL_Latin1_General_CP1_CI_AS,
    "Status" INTEGER NOT NULL,
    "LastOperationId" TEXT NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    CONSTRAINT "pkShardsLocal_ShardId" PRIMARY KEY ("ShardId"),
    CONSTRAINT "ucShardsLocal_ShardMapId_Location"
        UNIQUE ("ShardMapId", "Protocol", "ServerName", "DatabaseName", "Port"),
    CONSTRAINT "fkShardsLocal_ShardMapId"
        FOREIGN KEY ("ShardMapId") REFERENCES "__ShardManagement.ShardMapsLocal" ("ShardMapId")
) STRICT;

CREATE TABLE IF NOT EXISTS "__ShardManagement.ShardMappingsLocal" (
    "MappingId" TEXT NOT NULL,
    "ShardId" TEXT NOT NULL,
    "ShardMapId" TEXT NOT NULL,
    "MinValue" BLOB NOT NULL CHECK (length("MinValue") <= 128),
    "MaxValue" BLOB CHECK (length("MaxValue") <= 128),
    "Status" INTEGER NOT NULL,
    "LockOwnerId" TEXT NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    "LastOperationId" TEXT NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    CONSTRAINT "pkShardMappingsLocal_MappingId" PRIMARY KEY ("MappingId"),
    CONSTRAINT "ucShardMappingsLocal_ShardMapId_MinValue" UNIQUE ("ShardMapId", "MinValue"),
    CONSTRAINT "fkShardMappingsLocal_ShardMapId"
        FOREIGN KEY ("ShardMapId") REFERENCES "__ShardManagement.ShardMapsLocal" ("ShardMapId"),
    CONSTRAINT "fkShardMappingsLocal_ShardId"
        FOREIGN KEY ("ShardId") REFERENCES "__ShardManagement.ShardsLocal" ("ShardId")
) STRICT;

-- A shard can leave its map without a scan of all mappings.
CREATE INDEX IF NOT EXISTS "__ShardManagement.ixShardMappingsLocal_ShardId"
    ON "__ShardManagement.ShardMappingsLocal" ("ShardId");

-- Keys whose sessions have been ended. A session opened before a row of its key was written may not go on. Ids only
-- grow; a row that another one covers is removed.
CREATE TABLE IF NOT EXISTS "__ShardManagement.SessionsEndedLocal" (
    "Id" INTEGER PRIMARY KEY AUTOINCREMENT,
    "ShardMapId" TEXT NOT NULL,
    "MinValue" BLOB NOT NULL,
    "MaxValue" BLOB
) STRICT;
CREATE INDEX IF NOT EXISTS "__ShardManagement.ixSessionsEndedLocal_MinValue"
    ON "__ShardManagement.SessionsEndedLocal" ("ShardMapId", "MinValue");

INSERT INTO "__ShardManagement.ShardMapManagerLocal" ("StoreVersionMajor", "StoreVersionMinor")
SELECT 1, 2 WHERE NOT EXISTS (SELECT 1 FROM "__ShardManagement.ShardMapManagerLocal");
