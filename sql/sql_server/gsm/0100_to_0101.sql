-- The global store from version 1.0 to 1.1: another version table. The other tables are the same.
--
-- All procedures and functions of the reference library at 1.0 read the old table, so they are dropped, and its own upgrade,
-- which goes by the version, does not make them again: its clients cannot use the store any more. Where they are to, upgrade
-- with that library. Roles of permissions.sql need that script once more.
--
-- Safe to run twice, and by several clients at once: one transaction, under the lock that every installation takes, which
-- changes nothing but at version 1.0. Batches are separated by GO; with sqlcmd use -b. Then run 0101_to_0102.sql, 0102.sql and
-- procedures.sql.

SET XACT_ABORT ON;
BEGIN TRANSACTION;
DECLARE @got int;
EXEC @got = sp_getapplock @Resource = N'shardlet installation', @LockMode = N'Exclusive',
    @LockOwner = N'Transaction', @LockTimeout = 60000;
IF @got < 0 THROW 51000, N'another installation has been under way for a minute', 1;
GO
-- Who reads the version waits from here on until the end, clients of the reference library, too: every procedure begins with
-- that. An interrupted upgrade by that library may have left the column.
IF COL_LENGTH(N'__ShardManagement.ShardMapManagerGlobal', N'UpgradeLock') IS NOT NULL
    ALTER TABLE __ShardManagement.ShardMapManagerGlobal DROP COLUMN UpgradeLock;
GO
ALTER TABLE __ShardManagement.ShardMapManagerGlobal ADD UpgradeLock int NULL;
GO
IF COL_LENGTH(N'__ShardManagement.ShardMapManagerGlobal', N'StoreVersion') IS NOT NULL
    EXEC (N'IF NOT EXISTS (SELECT 1 FROM __ShardManagement.ShardMapManagerGlobal WHERE StoreVersion = 1)
        THROW 51002, N''the version table does not hold version 1.0'', 1;');
GO
IF COL_LENGTH(N'__ShardManagement.ShardMapManagerGlobal', N'StoreVersion') IS NOT NULL
BEGIN
    IF OBJECT_ID(N'__ShardManagement.fnGetStoreVersionGlobal', N'FN') IS NOT NULL
        DROP FUNCTION __ShardManagement.fnGetStoreVersionGlobal;
    IF OBJECT_ID(N'__ShardManagement.spAddShardMapGlobal', N'P') IS NOT NULL
        DROP PROCEDURE __ShardManagement.spAddShardMapGlobal;
    IF OBJECT_ID(N'__ShardManagement.spAddShardingSchemaInfoGlobal', N'P') IS NOT NULL
        DROP PROCEDURE __ShardManagement.spAddShardingSchemaInfoGlobal;
    IF OBJECT_ID(N'__ShardManagement.spAttachShardGlobal', N'P') IS NOT NULL
        DROP PROCEDURE __ShardManagement.spAttachShardGlobal;
    IF OBJECT_ID(N'__ShardManagement.spBulkOperationShardMappingsGlobalBegin', N'P') IS NOT NULL
        DROP PROCEDURE __ShardManagement.spBulkOperationShardMappingsGlobalBegin;
    IF OBJECT_ID(N'__ShardManagement.spBulkOperationShardMappingsGlobalEnd', N'P') IS NOT NULL
        DROP PROCEDURE __ShardManagement.spBulkOperationShardMappingsGlobalEnd;
    IF OBJECT_ID(N'__ShardManagement.spBulkOperationShardsGlobalBegin', N'P') IS NOT NULL
        DROP PROCEDURE __ShardManagement.spBulkOperationShardsGlobalBegin;
    IF OBJECT_ID(N'__ShardManagement.spBulkOperationShardsGlobalEnd', N'P') IS NOT NULL
        DROP PROCEDURE __ShardManagement.spBulkOperationShardsGlobalEnd;
    IF OBJECT_ID(N'__ShardManagement.spDetachShardGlobal', N'P') IS NOT NULL
        DROP PROCEDURE __ShardManagement.spDetachShardGlobal;
    IF OBJECT_ID(N'__ShardManagement.spFindAndUpdateOperationLogEntryByIdGlobal', N'P') IS NOT NULL
        DROP PROCEDURE __ShardManagement.spFindAndUpdateOperationLogEntryByIdGlobal;
    IF OBJECT_ID(N'__ShardManagement.spFindShardByLocationGlobal', N'P') IS NOT NULL
        DROP PROCEDURE __ShardManagement.spFindShardByLocationGlobal;
    IF OBJECT_ID(N'__ShardManagement.spFindShardMapByNameGlobal', N'P') IS NOT NULL
        DROP PROCEDURE __ShardManagement.spFindShardMapByNameGlobal;
    IF OBJECT_ID(N'__ShardManagement.spFindShardMappingByIdGlobal', N'P') IS NOT NULL
        DROP PROCEDURE __ShardManagement.spFindShardMappingByIdGlobal;
    IF OBJECT_ID(N'__ShardManagement.spFindShardMappingByKeyGlobal', N'P') IS NOT NULL
        DROP PROCEDURE __ShardManagement.spFindShardMappingByKeyGlobal;
    IF OBJECT_ID(N'__ShardManagement.spFindShardingSchemaInfoByNameGlobal', N'P') IS NOT NULL
        DROP PROCEDURE __ShardManagement.spFindShardingSchemaInfoByNameGlobal;
    IF OBJECT_ID(N'__ShardManagement.spGetAllDistinctShardLocationsGlobal', N'P') IS NOT NULL
        DROP PROCEDURE __ShardManagement.spGetAllDistinctShardLocationsGlobal;
    IF OBJECT_ID(N'__ShardManagement.spGetAllShardMappingsGlobal', N'P') IS NOT NULL
        DROP PROCEDURE __ShardManagement.spGetAllShardMappingsGlobal;
    IF OBJECT_ID(N'__ShardManagement.spGetAllShardMapsGlobal', N'P') IS NOT NULL
        DROP PROCEDURE __ShardManagement.spGetAllShardMapsGlobal;
    IF OBJECT_ID(N'__ShardManagement.spGetAllShardingSchemaInfosGlobal', N'P') IS NOT NULL
        DROP PROCEDURE __ShardManagement.spGetAllShardingSchemaInfosGlobal;
    IF OBJECT_ID(N'__ShardManagement.spGetAllShardsGlobal', N'P') IS NOT NULL
        DROP PROCEDURE __ShardManagement.spGetAllShardsGlobal;
    IF OBJECT_ID(N'__ShardManagement.spGetOperationLogEntryGlobalHelper', N'P') IS NOT NULL
        DROP PROCEDURE __ShardManagement.spGetOperationLogEntryGlobalHelper;
    IF OBJECT_ID(N'__ShardManagement.spGetStoreVersionGlobalHelper', N'P') IS NOT NULL
        DROP PROCEDURE __ShardManagement.spGetStoreVersionGlobalHelper;
    IF OBJECT_ID(N'__ShardManagement.spLockOrUnlockShardMappingsGlobal', N'P') IS NOT NULL
        DROP PROCEDURE __ShardManagement.spLockOrUnlockShardMappingsGlobal;
    IF OBJECT_ID(N'__ShardManagement.spRemoveShardMapGlobal', N'P') IS NOT NULL
        DROP PROCEDURE __ShardManagement.spRemoveShardMapGlobal;
    IF OBJECT_ID(N'__ShardManagement.spRemoveShardingSchemaInfoGlobal', N'P') IS NOT NULL
        DROP PROCEDURE __ShardManagement.spRemoveShardingSchemaInfoGlobal;
    IF OBJECT_ID(N'__ShardManagement.spReplaceShardMappingsGlobal', N'P') IS NOT NULL
        DROP PROCEDURE __ShardManagement.spReplaceShardMappingsGlobal;
    IF OBJECT_ID(N'__ShardManagement.spUpdateShardingSchemaInfoGlobal', N'P') IS NOT NULL
        DROP PROCEDURE __ShardManagement.spUpdateShardingSchemaInfoGlobal;
END
GO
-- The batch is read before the table is another one, hence the quotes.
IF COL_LENGTH(N'__ShardManagement.ShardMapManagerGlobal', N'StoreVersion') IS NOT NULL
BEGIN
    DROP TABLE __ShardManagement.ShardMapManagerGlobal;
    EXEC (N'CREATE TABLE __ShardManagement.ShardMapManagerGlobal (
        StoreVersionMajor int NOT NULL,
        StoreVersionMinor int NOT NULL,
        CONSTRAINT pkShardMapManagerGlobal_StoreVersionMajor PRIMARY KEY (StoreVersionMajor)
    )');
    EXEC (N'INSERT INTO __ShardManagement.ShardMapManagerGlobal (StoreVersionMajor, StoreVersionMinor) VALUES (1, 1)');
END
GO
IF COL_LENGTH(N'__ShardManagement.ShardMapManagerGlobal', N'UpgradeLock') IS NOT NULL
    ALTER TABLE __ShardManagement.ShardMapManagerGlobal DROP COLUMN UpgradeLock;
GO
COMMIT TRANSACTION;
GO
