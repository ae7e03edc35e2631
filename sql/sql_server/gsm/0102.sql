-- The global store at version 1.2, in schema __ShardManagement of the current database. Tables, columns, types, keys and
-- constraints are those of the reference library's store; the indexes at the end are ours.
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
IF OBJECT_ID(N'__ShardManagement.ShardMapManagerGlobal', N'U') IS NULL
BEGIN
    CREATE TABLE __ShardManagement.ShardMapManagerGlobal (
        StoreVersionMajor int NOT NULL,
        StoreVersionMinor int NOT NULL,
        CONSTRAINT pkShardMapManagerGlobal_StoreVersionMajor PRIMARY KEY (StoreVersionMajor)
    );
    INSERT INTO __ShardManagement.ShardMapManagerGlobal (StoreVersionMajor, StoreVersionMinor) VALUES (1, 2);
END
GO
IF OBJECT_ID(N'__ShardManagement.ShardMapsGlobal', N'U') IS NULL
    CREATE TABLE __ShardManagement.ShardMapsGlobal (
        ShardMapId uniqueidentifier NOT NULL,
        Name nvarchar(50) COLLATE SQL_Latin1_General_CP1_CI_AS NOT NULL,
        ShardMapType int NOT NULL,
        KeyType int NOT NULL,
        CONSTRAINT pkShardMapsGlobal_ShardMapId PRIMARY KEY (ShardMapId),
        CONSTRAINT ucShardMapsGlobal_Name UNIQUE (Name)
    );
GO
IF OBJECT_ID(N'__ShardManagement.ShardsGlobal', N'U') IS NULL
    CREATE TABLE __ShardManagement.ShardsGlobal (
        ShardId uniqueidentifier NOT NULL,
        Readable bit NOT NULL,
        [Version] uniqueidentifier NOT NULL,
        ShardMapId uniqueidentifier NOT NULL,
        OperationId uniqueidentifier NULL,
        Protocol int NOT NULL,
        ServerName nvarchar(128) COLLATE SQL_Latin1_General_CP1_CI_AS NOT NULL,
        Port int NOT NULL,
        DatabaseName nvarchar(128) COLLATE SQL_Latin1_General_CP1_CI_AS NOT NULL,
        Status int NOT NULL,
        CONSTRAINT pkShardsGlobal_ShardId PRIMARY KEY (ShardId),
        CONSTRAINT ucShardsGlobal_Location UNIQUE (ShardMapId, Protocol, ServerName, DatabaseName, Port),
        CONSTRAINT fkShardsGlobal_ShardMapId FOREIGN KEY (ShardMapId)
            REFERENCES __ShardManagement.ShardMapsGlobal (ShardMapId)
    );
GO
IF OBJECT_ID(N'__ShardManagement.ShardMappingsGlobal', N'U') IS NULL
    CREATE TABLE __ShardManagement.ShardMappingsGlobal (
        MappingId uniqueidentifier NOT NULL,
        Readable bit NOT NULL,
        ShardId uniqueidentifier NOT NULL,
        ShardMapId uniqueidentifier NOT NULL,
        OperationId uniqueidentifier NULL,
        MinValue varbinary(128) NOT NULL,
        MaxValue varbinary(128) NULL,
        Status int NOT NULL,
        LockOwnerId uniqueidentifier NOT NULL DEFAULT ('00000000-0000-0000-0000-000000000000'),
        CONSTRAINT pkShardMappingsGlobal_ShardMapId_MinValue_Readable PRIMARY KEY (ShardMapId, MinValue, Readable),
        CONSTRAINT ucShardMappingsGlobal_MappingId UNIQUE (MappingId),
        CONSTRAINT fkShardMappingsGlobal_ShardMapId FOREIGN KEY (ShardMapId)
            REFERENCES __ShardManagement.ShardMapsGlobal (ShardMapId),
        CONSTRAINT fkShardMappingsGlobal_ShardId FOREIGN KEY (ShardId)
            REFERENCES __ShardManagement.ShardsGlobal (ShardId)
    );
GO
IF OBJECT_ID(N'__ShardManagement.OperationsLogGlobal', N'U') IS NULL
    CREATE TABLE __ShardManagement.OperationsLogGlobal (
        OperationId uniqueidentifier NOT NULL,
        OperationCode int NOT NULL,
        Data xml NOT NULL,
        UndoStartState int NOT NULL DEFAULT (100),
        ShardVersionRemoves uniqueidentifier NULL,
        ShardVersionAdds uniqueidentifier NULL,
        CONSTRAINT pkOperationsLogGlobal_OperationId PRIMARY KEY (OperationId)
    );
GO
IF OBJECT_ID(N'__ShardManagement.ShardedDatabaseSchemaInfosGlobal', N'U') IS NULL
    CREATE TABLE __ShardManagement.ShardedDatabaseSchemaInfosGlobal (
        Name nvarchar(128) NOT NULL,
        SchemaInfo xml NOT NULL,
        CONSTRAINT pkShardedDatabaseSchemaInfosGlobal_Name PRIMARY KEY (Name)
    );
GO
-- The mappings of a shard, the rows of unfinished operations, and those of a lock's owner, without a scan. Looked for by the
-- beginnings of their names: some engines cut long ones. No filtered
-- indexes: those ask for session settings that other clients of the store may not have.
IF NOT EXISTS (SELECT 1 FROM sys.indexes WHERE object_id = OBJECT_ID(N'__ShardManagement.ShardMappingsGlobal')
               AND LOWER(name) LIKE N'ixshardmappingsglobal[_]sh%')
    CREATE INDEX ixShardMappingsGlobal_ShardId ON __ShardManagement.ShardMappingsGlobal (ShardId);
GO
IF NOT EXISTS (SELECT 1 FROM sys.indexes WHERE object_id = OBJECT_ID(N'__ShardManagement.ShardMappingsGlobal')
               AND LOWER(name) LIKE N'ixshardmappingsglobal[_]op%')
    CREATE INDEX ixShardMappingsGlobal_OperationId ON __ShardManagement.ShardMappingsGlobal (ShardMapId, OperationId);
GO
IF NOT EXISTS (SELECT 1 FROM sys.indexes WHERE object_id = OBJECT_ID(N'__ShardManagement.ShardMappingsGlobal')
               AND LOWER(name) LIKE N'ixshardmappingsglobal[_]lo%')
    CREATE INDEX ixShardMappingsGlobal_LockOwnerId ON __ShardManagement.ShardMappingsGlobal (ShardMapId, LockOwnerId);
GO
COMMIT TRANSACTION;
GO
