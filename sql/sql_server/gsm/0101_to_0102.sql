-- The global store from version 1.1 to 1.2.
--
-- Between the two only the reference library's procedure for locks differs: at 1.1 it takes "unlock what this owner holds" for
-- "unlock every mapping", so it is dropped. Its own upgrade, which goes by the version, does not make it again: where its
-- clients are to lock mappings, upgrade with that library.
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
IF COL_LENGTH(N'__ShardManagement.ShardMapManagerGlobal', N'UpgradeLock') IS NOT NULL
    ALTER TABLE __ShardManagement.ShardMapManagerGlobal DROP COLUMN UpgradeLock;
GO
ALTER TABLE __ShardManagement.ShardMapManagerGlobal ADD UpgradeLock int NULL;
GO
IF EXISTS (SELECT 1 FROM __ShardManagement.ShardMapManagerGlobal WHERE StoreVersionMajor = 1 AND StoreVersionMinor < 2)
BEGIN
    IF OBJECT_ID(N'__ShardManagement.spLockOrUnlockShardMappingsGlobal', N'P') IS NOT NULL
        DROP PROCEDURE __ShardManagement.spLockOrUnlockShardMappingsGlobal;
END
GO
UPDATE __ShardManagement.ShardMapManagerGlobal SET StoreVersionMinor = 2
WHERE StoreVersionMajor = 1 AND StoreVersionMinor < 2;
GO
IF COL_LENGTH(N'__ShardManagement.ShardMapManagerGlobal', N'UpgradeLock') IS NOT NULL
    ALTER TABLE __ShardManagement.ShardMapManagerGlobal DROP COLUMN UpgradeLock;
GO
COMMIT TRANSACTION;
GO
