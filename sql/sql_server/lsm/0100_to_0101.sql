-- A shard's local store from version 1.0 to 1.1: another version table. The other tables are the same.
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
IF COL_LENGTH(N'__ShardManagement.ShardMapManagerLocal', N'UpgradeLock') IS NOT NULL
    ALTER TABLE __ShardManagement.ShardMapManagerLocal DROP COLUMN UpgradeLock;
GO
ALTER TABLE __ShardManagement.ShardMapManagerLocal ADD UpgradeLock int NULL;
GO
IF COL_LENGTH(N'__ShardManagement.ShardMapManagerLocal', N'StoreVersion') IS NOT NULL
    EXEC (N'IF NOT EXISTS (SELECT 1 FROM __ShardManagement.ShardMapManagerLocal WHERE StoreVersion = 1)
        THROW 51002, N''the version table does not hold version 1.0'', 1;');
GO
IF COL_LENGTH(N'__ShardManagement.ShardMapManagerLocal', N'StoreVersion') IS NOT NULL
BEGIN
    IF OBJECT_ID(N'__ShardManagement.fnGetStoreVersionLocal', N'FN') IS NOT NULL
        DROP FUNCTION __ShardManagement.fnGetStoreVersionLocal;
    IF OBJECT_ID(N'__ShardManagement.spAddShardLocal', N'P') IS NOT NULL
        DROP PROCEDURE __ShardManagement.spAddShardLocal;
    IF OBJECT_ID(N'__ShardManagement.spBulkOperationShardMappingsLocal', N'P') IS NOT NULL
        DROP PROCEDURE __ShardManagement.spBulkOperationShardMappingsLocal;
    IF OBJECT_ID(N'__ShardManagement.spFindShardMappingByKeyLocal', N'P') IS NOT NULL
        DROP PROCEDURE __ShardManagement.spFindShardMappingByKeyLocal;
    IF OBJECT_ID(N'__ShardManagement.spGetAllShardMappingsLocal', N'P') IS NOT NULL
        DROP PROCEDURE __ShardManagement.spGetAllShardMappingsLocal;
    IF OBJECT_ID(N'__ShardManagement.spGetAllShardsLocal', N'P') IS NOT NULL
        DROP PROCEDURE __ShardManagement.spGetAllShardsLocal;
    IF OBJECT_ID(N'__ShardManagement.spGetStoreVersionLocalHelper', N'P') IS NOT NULL
        DROP PROCEDURE __ShardManagement.spGetStoreVersionLocalHelper;
    IF OBJECT_ID(N'__ShardManagement.spKillSessionsForShardMappingLocal', N'P') IS NOT NULL
        DROP PROCEDURE __ShardManagement.spKillSessionsForShardMappingLocal;
    IF OBJECT_ID(N'__ShardManagement.spRemoveShardLocal', N'P') IS NOT NULL
        DROP PROCEDURE __ShardManagement.spRemoveShardLocal;
    IF OBJECT_ID(N'__ShardManagement.spUpdateShardLocal', N'P') IS NOT NULL
        DROP PROCEDURE __ShardManagement.spUpdateShardLocal;
    IF OBJECT_ID(N'__ShardManagement.spValidateShardLocal', N'P') IS NOT NULL
        DROP PROCEDURE __ShardManagement.spValidateShardLocal;
    IF OBJECT_ID(N'__ShardManagement.spValidateShardMappingLocal', N'P') IS NOT NULL
        DROP PROCEDURE __ShardManagement.spValidateShardMappingLocal;
END
GO
-- The batch is read before the table is another one, hence the quotes.
IF COL_LENGTH(N'__ShardManagement.ShardMapManagerLocal', N'StoreVersion') IS NOT NULL
BEGIN
    DROP TABLE __ShardManagement.ShardMapManagerLocal;
    EXEC (N'CREATE TABLE __ShardManagement.ShardMapManagerLocal (
        StoreVersionMajor int NOT NULL,
        StoreVersionMinor int NOT NULL,
        CONSTRAINT pkShardMapManagerLocal_StoreVersionMajor PRIMARY KEY (StoreVersionMajor)
    )');
    EXEC (N'INSERT INTO __ShardManagement.ShardMapManagerLocal (StoreVersionMajor, StoreVersionMinor) VALUES (1, 1)');
END
GO
IF COL_LENGTH(N'__ShardManagement.ShardMapManagerLocal', N'UpgradeLock') IS NOT NULL
    ALTER TABLE __ShardManagement.ShardMapManagerLocal DROP COLUMN UpgradeLock;
GO
COMMIT TRANSACTION;
GO
