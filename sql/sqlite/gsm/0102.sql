-- The global store at version 1.2. Safe to run twice and by several clients at once: it runs in one transaction that
-- is the only writer. Tables, columns and rules are those of the reference library's store, under quoted names.

CREATE TABLE IF NOT EXISTS "__ShardManagement.ShardMapManagerGlobal" (
    "StoreVersionMajor" INTEGER NOT NULL,
    "StoreVersionMinor" INTEGER NOT NULL,
    CONSTRAINT "pkShardMapManagerGlobal_StoreVersionMajor" PRIMARY KEY ("StoreVersionMajor")
) STRICT;

CREATE TABLE IF NOT EXISTS "__ShardManagement.ShardMapsGlobal" (
    "ShardMapId" TEXT NOT NULL,
    "Name" TEXT NOT NULL COLLATE SQL_Latin1_General_CP1_CI_AS,
    "ShardMapType" INTEGER NOT NULL,
    "KeyType" INTEGER NOT NULL,
    CONSTRAINT "pkShardMapsGlobal_ShardMapId" PRIMARY KEY ("ShardMapId"),
    CONSTRAINT "ucShardMapsGlobal_Name" UNIQUE ("Name")
) STRICT;

CREATE TABLE IF NOT EXISTS "__ShardManagement.ShardsGlobal" (
    "ShardId" TEXT NOT NULL,
    "Readable" INTEGER NOT NULL CHECK ("Readable" IN (0, 1)),
    "Version" TEXT NOT NULL,
    "ShardMapId" TEXT NOT NULL,
    "OperationId" TEXT,
    "Protocol" INTEGER NOT NULL,
    "ServerName" TEXT NOT NULL COLLATE SQL_Latin1_General_CP1_CI_AS,
    "Port" INTEGER NOT NULL,
    "DatabaseName" TEXT NOT NULL COLLATE SQL_Latin1_General_CP1_CI_AS,
    "Status" INTEGER NOT NULL,
    CONSTRAINT "pkShardsGlobal_ShardId" PRIMARY KEY ("ShardId"),
    CONSTRAINT "ucShardsGlobal_Location"
        UNIQUE ("ShardMapId", "Protocol", "ServerName", "DatabaseName", "Port"),
    CONSTRAINT "fkShardsGlobal_ShardMapId"
        FOREIGN KEY ("ShardMapId") REFERENCES "__ShardManagement.ShardMapsGlobal" ("ShardMapId")
) STRICT;

CREATE TABLE IF NOT EXISTS "__ShardManagement.ShardMappingsGlobal" (
    "MappingId" TEXT NOT NULL,
    "Readable" INTEGER NOT NULL CHECK ("Readable" IN (0, 1)),
    "ShardId" TEXT NOT NULL,
    "ShardMapId" TEXT NOT NULL,
    "OperationId" TEXT,
    "MinValue" BLOB NOT NULL CHECK (length("MinValue") <= 128),
    "MaxValue" BLOB CHECK (length("MaxValue") <= 128),
    "Status" INTEGER NOT NULL,
    "LockOwnerId" TEXT NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    CONSTRAINT "pkShardMappingsGlobal_ShardMapId_MinValue_Readable" PRIMARY KEY ("ShardMapId", "MinValue", "Readable"),
    CONSTRAINT "ucShardMappingsGlobal_MappingId" UNIQUE ("MappingId"),
    CONSTRAINT "fkShardMappingsGlobal_ShardMapId"
        FOREIGN KEY ("ShardMapId") REFERENCES "__ShardManagement.ShardMapsGlobal" ("ShardMapId"),
    CONSTRAINT "fkShardMappingsGlobal_ShardId"
        FOREIGN KEY ("ShardId") REFERENCES "__ShardManagement.ShardsGlobal" ("ShardId")
) STRICT;

-- Beyond the reference: the mappings of a shard, and the rows of unfinished operations, without a scan.
CREATE INDEX IF NOT EXISTS "__ShardManagement.ixShardMappingsGlobal_ShardId"
    ON "__ShardManagement.ShardMappingsGlobal" ("ShardId");
CREATE INDEX IF NOT EXISTS "__ShardManagement.ixShardMappingsGlobal_Pending"
    ON "__ShardManagement.ShardMappingsGlobal" ("ShardMapId", "MinValue") WHERE "OperationId" IS NOT NULL;
CREATE INDEX IF NOT EXISTS "__ShardManagement.ixShardMappingsGlobal_LockOwnerId"
    ON "__ShardManagement.ShardMappingsGlobal" ("ShardMapId", "LockOwnerId")
    WHERE "LockOwnerId" <> '00000000-0000-0000-0000-000000000000';

CREATE TABLE IF NOT EXISTS "__ShardManagement.OperationsLogGlobal" (
    "OperationId" TEXT NOT NULL,
    "OperationCode" INTEGER NOT NULL,
    "Data" TEXT NOT NULL,
    "UndoStartState" INTEGER NOT NULL DEFAULT 100,
    "ShardVersionRemoves" TEXT,
    "ShardVersionAdds" TEXT,
    CONSTRAINT "pkOperationsLogGlobal_OperationId" PRIMARY KEY ("OperationId")
) STRICT;

CREATE TABLE IF NOT EXISTS "__ShardManagement.ShardedDatabaseSchemaInfosGlobal" (
    "Name" TEXT NOT NULL,
    "SchemaInfo" TEXT NOT NULL,
    CONSTRAINT "pkShardedDatabaseSchemaInfosGlobal_Name" PRIMARY KEY ("Name")
) STRICT;

INSERT INTO "__ShardManagement.ShardMapManagerGlobal" ("StoreVersionMajor", "StoreVersionMinor")
SELECT 1, 2 WHERE NOT EXISTS (SELECT 1 FROM "__ShardManagement.ShardMapManagerGlobal");
