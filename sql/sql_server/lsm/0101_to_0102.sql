-- A shard's local store from version 1.1 to 1.2.
--
-- Between the two only three procedures of the reference library differ, which at 1.1 do not write a shard's new location and
-- do not know undoing: they are dropped. Its own upgrade, which goes by the version, does not make them again: where its
-- clients are to change shards and mappings, upgrade with that library.
--
-- Safe to run twice, and by several clients at once: one transaction, under the lock that every installation takes, which
-- changes nothing but at version 1.1. Batches are separated by GO; with sqlcmd use -b. Then run 0102.sql and procedures.sql.

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
IF EXISTS (SELECT 1 FROM __ShardManagement.ShardMapManagerLocal WHERE StoreVersionMajor = 1 AND StoreVersionMinor < 2)
BEGIN
    IF OBJECT_ID(N'__ShardManagement.spAddShardLocal', N'P') IS NOT NULL
        DROP PROCEDURE __ShardManagement.spAddShardLocal;
    IF OBJECT_ID(N'__ShardManagement.spBulkOperationShardMappingsLocal', N'P') IS NOT NULL
        DROP PROCEDURE __ShardManagement.spBulkOperationShardMappingsLocal;
    IF OBJECT_ID(N'__ShardManagement.spUpdateShardLocal', N'P') IS NOT NULL
        DROP PROCEDURE __ShardManagement.spUpdateShardLocal;
END
GO
UPDATE __ShardManagement.ShardMapManagerLocal SET StoreVersionMinor = 2
WHERE StoreVersionMajor = 1 AND StoreVersionMinor < 2;
GO
IF COL_LENGTH(N'__ShardManagement.ShardMapManagerLocal', N'UpgradeLock') IS NOT NULL
    ALTER TABLE __ShardManagement.ShardMapManagerLocal DROP COLUMN UpgradeLock;
GO
COMMIT TRANSACTION;
GO
