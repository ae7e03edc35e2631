-- The local store of a shard at version 1.2, in schema __ShardManagement of the shard's database. Tables, columns, types,
-- keys and constraints are those of the reference library's store; the index at the end is ours.
--
-- Safe to run twice, and by several clients at once: one transaction, under a lock that every installation takes, adds what
-- is missing. Batches are separated by GO; with sqlcmd use -b, so that a failed batch ends the run and with it the
-- transaction. The procedures are in procedures.sql.

SET XACT_ABORT ON;
BEGIN TRANSACTION;
DECLARE @got int;
EXEC @got = sp_getapplock @Resource = N'shardlet installation', @LockMode = N'Exclusive',
    @LockOwner = N'Transaction', @LockTimeout = 60000;
IF @got < 0 THROW 51000, N'another installation has been under way for a minute', 1;
GO
IF NOT EXISTS (SELECT 1 FROM sys.schemas WHERE LOWER(name) = N'__shardmanagement')
    EXEC (N'CREATE SCHEMA __ShardManagement');
GO
IF OBJECT_ID(N'__ShardManagement.ShardMapManagerLocal', N'U') IS NULL
BEGIN
    CREATE TABLE __ShardManagement.ShardMapManagerLocal (
        StoreVersionMajor int NOT NULL,
        StoreVersionMinor int NOT NULL,
        CONSTRAINT pkShardMapManagerLocal_StoreVersionMajor PRIMARY KEY (StoreVersionMajor)
    );
END
GO
-- Also where an installation of another kind has stopped between the table and its row; a table of version 1.0 is left alone.
IF COL_LENGTH(N'__ShardManagement.ShardMapManagerLocal', N'StoreVersionMajor') IS NOT NULL
    EXEC (N'IF NOT EXISTS (SELECT 1 FROM __ShardManagement.ShardMapManagerLocal)
        INSERT INTO __ShardManagement.ShardMapManagerLocal (StoreVersionMajor, StoreVersionMinor) VALUES (1, 2)');
GO
IF OBJECT_ID(N'__ShardManagement.ShardMapsLocal', N'U') IS NULL
    CREATE TABLE __ShardManagement.ShardMapsLocal (
        ShardMapId uniqueidentifier NOT NULL,
        Name nvarchar(50) COLLATE SQL_Latin1_General_CP1_CI_AS NOT NULL,
        MapType int NOT NULL,
        KeyType int NOT NULL,
        LastOperationId uniqueidentifier NOT NULL DEFAULT ('00000000-0000-0000-0000-000000000000'),
        CONSTRAINT pkShardMapsLocal_ShardMapId PRIMARY KEY (ShardMapId)
    );
GO
IF OBJECT_ID(N'__ShardManagement.ShardsLocal', N'U') IS NULL
    CREATE TABLE __ShardManagement.ShardsLocal (
        ShardId uniqueidentifier NOT NULL,
        [Version] uniqueidentifier NOT NULL,
        ShardMapId uniqueidentifier NOT NULL,
        Protocol int NOT NULL,
        ServerName nvarchar(128) COLLATE SQL_Latin1_General_CP1_CI_AS NOT NULL,
        Port int NOT NULL,
        DatabaseName nvarchar(128) COLLATE SQL_Latin1_General_CP1_CI_AS NOT NULL,
        Status int NOT NULL,
        LastOperationId uniqueidentifier NOT NULL DEFAULT ('00000000-0000-0000-0000-000000000000'),
        CONSTRAINT pkShardsLocal_ShardId PRIMARY KEY (ShardId),
        CONSTRAINT ucShardsLocal_ShardMapId_Location UNIQUE (ShardMapId, Protocol, ServerName, DatabaseName, Port),
        CONSTRAINT fkShardsLocal_ShardMapId FOREIGN KEY (ShardMapId)
            REFERENCES __ShardManagement.ShardMapsLocal (ShardMapId)
    );
GO
IF OBJECT_ID(N'__ShardManagement.ShardMappingsLocal', N'U') IS NULL
    CREATE TABLE __ShardManagement.ShardMappingsLocal (
        MappingId uniqueidentifier NOT NULL,
        ShardId uniqueidentifier NOT NULL,
        ShardMapId uniqueidentifier NOT NULL,
        MinValue varbinary(128) NOT NULL,
        MaxValue varbinary(128) NULL,
        Status int NOT NULL,
        LockOwnerId uniqueidentifier NOT NULL DEFAULT ('00000000-0000-0000-0000-000000000000'),
        LastOperationId uniqueidentifier NOT NULL DEFAULT ('00000000-0000-0000-0000-000000000000'),
        CONSTRAINT pkShardMappingsLocal_MappingId PRIMARY KEY (MappingId),
        CONSTRAINT ucShardMappingsLocal_ShardMapId_MinValue UNIQUE (ShardMapId, MinValue),
        CONSTRAINT fkShardMappingsLocal_ShardMapId FOREIGN KEY (ShardMapId)
            REFERENCES __ShardManagement.ShardMapsLocal (ShardMapId),
        CONSTRAINT fkShardMappingsLocal_ShardId FOREIGN KEY (ShardId)
            REFERENCES __ShardManagement.ShardsLocal (ShardId)
    );
GO
-- A shard can leave its map without a scan of all mappings.
IF NOT EXISTS (SELECT 1 FROM sys.indexes WHERE object_id = OBJECT_ID(N'__ShardManagement.ShardMappingsLocal')
               AND LOWER(name) LIKE N'ixshardmappingslocal[_]sh%')
    CREATE INDEX ixShardMappingsLocal_ShardId ON __ShardManagement.ShardMappingsLocal (ShardId);
GO
COMMIT TRANSACTION;
GO
