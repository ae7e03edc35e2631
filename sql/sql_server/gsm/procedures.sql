-- The procedures of the global store: every request of this library to it. They stand beside those of the reference
-- library and share its tables. The number in their names is that of their contract: a client calls those that it was
-- written for, so from the first release on a changed procedure gets a new name and clients of two versions work side by side.
--
-- Safe to run twice, and by several clients at once, like 0102.sql, which comes first. Procedures that are there are
-- altered, so that what was granted on them stays.
--
-- Each answers with a result code of the reference library's store (1 for success; from 1000 on they are ours) as its return
-- code; on 51 with the store's version, on 52 with the log row of the operation that is in the way. Each is one transaction of
-- its own. Who changes something in a map writes the map's row first: that, not a hint, puts changes of one map in order.

SET ANSI_NULLS ON;
SET QUOTED_IDENTIFIER ON;
SET XACT_ABORT ON;
-- OPENJSON.
IF SERVERPROPERTY('babelfish') IS NULL
    AND (SELECT compatibility_level FROM sys.databases WHERE database_id = DB_ID()) < 130
    THROW 51001, N'the compatibility level of the database is below 130', 1;
BEGIN TRANSACTION;
DECLARE @got int;
EXEC @got = sp_getapplock @Resource = N'shardlet installation', @LockMode = N'Exclusive',
    @LockOwner = N'Transaction', @LockTimeout = 60000;
IF @got < 0 THROW 51000, N'another installation has been under way for a minute', 1;
GO

IF OBJECT_ID(N'__ShardManagement.shardlet1_ListShardMaps', N'P') IS NULL
    EXEC (N'CREATE PROCEDURE __ShardManagement.shardlet1_ListShardMaps AS RETURN 0');
GO
ALTER PROCEDURE __ShardManagement.shardlet1_ListShardMaps
AS
BEGIN
    SET NOCOUNT ON;
    IF NOT EXISTS (SELECT 1 FROM __ShardManagement.ShardMapManagerGlobal WHERE StoreVersionMajor = 1)
    BEGIN
        SELECT StoreVersionMajor, StoreVersionMinor FROM __ShardManagement.ShardMapManagerGlobal;
        RETURN 51;
    END
    SELECT ShardMapId, Name, ShardMapType, KeyType FROM __ShardManagement.ShardMapsGlobal;
    RETURN 1;
END
GO

IF OBJECT_ID(N'__ShardManagement.shardlet1_FindShardMap', N'P') IS NULL
    EXEC (N'CREATE PROCEDURE __ShardManagement.shardlet1_FindShardMap AS RETURN 0');
GO
ALTER PROCEDURE __ShardManagement.shardlet1_FindShardMap
    @name nvarchar(50)
AS
BEGIN
    SET NOCOUNT ON;
    IF NOT EXISTS (SELECT 1 FROM __ShardManagement.ShardMapManagerGlobal WHERE StoreVersionMajor = 1)
    BEGIN
        SELECT StoreVersionMajor, StoreVersionMinor FROM __ShardManagement.ShardMapManagerGlobal;
        RETURN 51;
    END
    SELECT ShardMapId, Name, ShardMapType, KeyType FROM __ShardManagement.ShardMapsGlobal WHERE Name = @name;
    RETURN 1;
END
GO

IF OBJECT_ID(N'__ShardManagement.shardlet1_AddShardMap', N'P') IS NULL
    EXEC (N'CREATE PROCEDURE __ShardManagement.shardlet1_AddShardMap AS RETURN 0');
GO
ALTER PROCEDURE __ShardManagement.shardlet1_AddShardMap
    @map uniqueidentifier, @name nvarchar(50), @kind int, @keyType int
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT ON;
    IF NOT EXISTS (SELECT 1 FROM __ShardManagement.ShardMapManagerGlobal WHERE StoreVersionMajor = 1)
    BEGIN
        SELECT StoreVersionMajor, StoreVersionMinor FROM __ShardManagement.ShardMapManagerGlobal;
        RETURN 51;
    END
    BEGIN TRANSACTION;
    UPDATE __ShardManagement.ShardMapManagerGlobal SET StoreVersionMinor = StoreVersionMinor;
    IF EXISTS (SELECT 1 FROM __ShardManagement.ShardMapsGlobal WHERE Name = @name OR ShardMapId = @map)
    BEGIN
        ROLLBACK TRANSACTION;
        RETURN 101;
    END
    BEGIN TRY
        INSERT INTO __ShardManagement.ShardMapsGlobal (ShardMapId, Name, ShardMapType, KeyType)
        VALUES (@map, @name, @kind, @keyType);
    END TRY
    BEGIN CATCH
        -- A client of the reference library was faster: it does not wait for the version row.
        DECLARE @error int;
        SET @error = ERROR_NUMBER();
        IF @@TRANCOUNT > 0 ROLLBACK TRANSACTION;
        IF @error IN (2601, 2627) RETURN 101;
        THROW;
    END CATCH
    COMMIT TRANSACTION;
    RETURN 1;
END
GO

IF OBJECT_ID(N'__ShardManagement.shardlet1_RemoveShardMap', N'P') IS NULL
    EXEC (N'CREATE PROCEDURE __ShardManagement.shardlet1_RemoveShardMap AS RETURN 0');
GO
ALTER PROCEDURE __ShardManagement.shardlet1_RemoveShardMap
    @map uniqueidentifier
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT ON;
    IF NOT EXISTS (SELECT 1 FROM __ShardManagement.ShardMapManagerGlobal WHERE StoreVersionMajor = 1)
    BEGIN
        SELECT StoreVersionMajor, StoreVersionMinor FROM __ShardManagement.ShardMapManagerGlobal;
        RETURN 51;
    END
    BEGIN TRANSACTION;
    UPDATE __ShardManagement.ShardMapsGlobal SET KeyType = KeyType WHERE ShardMapId = @map;
    IF @@ROWCOUNT = 0
    BEGIN
        ROLLBACK TRANSACTION;
        RETURN 102;
    END
    IF EXISTS (SELECT 1 FROM __ShardManagement.ShardsGlobal WHERE ShardMapId = @map)
    BEGIN
        ROLLBACK TRANSACTION;
        RETURN 103;
    END
    DELETE FROM __ShardManagement.ShardMapsGlobal WHERE ShardMapId = @map;
    COMMIT TRANSACTION;
    RETURN 1;
END
GO

IF OBJECT_ID(N'__ShardManagement.shardlet1_ListShards', N'P') IS NULL
    EXEC (N'CREATE PROCEDURE __ShardManagement.shardlet1_ListShards AS RETURN 0');
GO
ALTER PROCEDURE __ShardManagement.shardlet1_ListShards
    @map uniqueidentifier
AS
BEGIN
    SET NOCOUNT ON;
    IF NOT EXISTS (SELECT 1 FROM __ShardManagement.ShardMapManagerGlobal WHERE StoreVersionMajor = 1)
    BEGIN
        SELECT StoreVersionMajor, StoreVersionMinor FROM __ShardManagement.ShardMapManagerGlobal;
        RETURN 51;
    END
    IF NOT EXISTS (SELECT 1 FROM __ShardManagement.ShardMapsGlobal WHERE ShardMapId = @map) RETURN 102;
    SELECT ShardId, Version, ShardMapId, Protocol, ServerName, Port, DatabaseName, Status
    FROM __ShardManagement.ShardsGlobal WHERE ShardMapId = @map AND Readable = 1;
    RETURN 1;
END
GO

IF OBJECT_ID(N'__ShardManagement.shardlet1_FindShard', N'P') IS NULL
    EXEC (N'CREATE PROCEDURE __ShardManagement.shardlet1_FindShard AS RETURN 0');
GO
ALTER PROCEDURE __ShardManagement.shardlet1_FindShard
    @map uniqueidentifier, @protocol int, @server nvarchar(128), @port int, @database nvarchar(128)
AS
BEGIN
    SET NOCOUNT ON;
    IF NOT EXISTS (SELECT 1 FROM __ShardManagement.ShardMapManagerGlobal WHERE StoreVersionMajor = 1)
    BEGIN
        SELECT StoreVersionMajor, StoreVersionMinor FROM __ShardManagement.ShardMapManagerGlobal;
        RETURN 51;
    END
    IF NOT EXISTS (SELECT 1 FROM __ShardManagement.ShardMapsGlobal WHERE ShardMapId = @map) RETURN 102;
    SELECT ShardId, Version, ShardMapId, Protocol, ServerName, Port, DatabaseName, Status
    FROM __ShardManagement.ShardsGlobal
    WHERE ShardMapId = @map AND Protocol = @protocol AND ServerName = @server AND Port = @port
        AND DatabaseName = @database AND Readable = 1;
    RETURN 1;
END
GO

IF OBJECT_ID(N'__ShardManagement.shardlet1_ListShardLocations', N'P') IS NULL
    EXEC (N'CREATE PROCEDURE __ShardManagement.shardlet1_ListShardLocations AS RETURN 0');
GO
ALTER PROCEDURE __ShardManagement.shardlet1_ListShardLocations
AS
BEGIN
    SET NOCOUNT ON;
    IF NOT EXISTS (SELECT 1 FROM __ShardManagement.ShardMapManagerGlobal WHERE StoreVersionMajor = 1)
    BEGIN
        SELECT StoreVersionMajor, StoreVersionMinor FROM __ShardManagement.ShardMapManagerGlobal;
        RETURN 51;
    END
    SELECT DISTINCT Protocol, ServerName, Port, DatabaseName
    FROM __ShardManagement.ShardsGlobal WHERE Readable = 1;
    RETURN 1;
END
GO

-- An empty @high is no bound: no key is below the empty key. HOLDLOCK keeps changes of the map out while its rows are
-- read; where hints mean nothing, one statement sees one moment.
IF OBJECT_ID(N'__ShardManagement.shardlet1_ListMappings', N'P') IS NULL
    EXEC (N'CREATE PROCEDURE __ShardManagement.shardlet1_ListMappings AS RETURN 0');
GO
ALTER PROCEDURE __ShardManagement.shardlet1_ListMappings
    @map uniqueidentifier, @shard uniqueidentifier, @low varbinary(128), @high varbinary(128)
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT ON;
    DECLARE @kind int;
    DECLARE @below varbinary(129);
    SET @below = @high;
    IF DATALENGTH(@high) = 0 SET @below = CONVERT(varbinary(129), '0x' + REPLICATE('ff', 129), 1);
    IF NOT EXISTS (SELECT 1 FROM __ShardManagement.ShardMapManagerGlobal WHERE StoreVersionMajor = 1)
    BEGIN
        SELECT StoreVersionMajor, StoreVersionMinor FROM __ShardManagement.ShardMapManagerGlobal;
        RETURN 51;
    END
    BEGIN TRANSACTION;
    SELECT @kind = ShardMapType FROM __ShardManagement.ShardMapsGlobal WITH (HOLDLOCK) WHERE ShardMapId = @map;
    IF @kind IS NULL
    BEGIN
        ROLLBACK TRANSACTION;
        RETURN 102;
    END
    IF @shard IS NOT NULL AND NOT EXISTS (
        SELECT 1 FROM __ShardManagement.ShardsGlobal WHERE ShardMapId = @map AND ShardId = @shard AND Readable = 1)
    BEGIN
        ROLLBACK TRANSACTION;
        RETURN 202;
    END
    SELECT m.MappingId, m.ShardMapId, m.MinValue, m.MaxValue, m.Status, m.LockOwnerId,
        s.ShardId, s.Version, s.ShardMapId, s.Protocol, s.ServerName, s.Port, s.DatabaseName, s.Status
    FROM __ShardManagement.ShardMappingsGlobal AS m
    JOIN __ShardManagement.ShardsGlobal AS s ON s.ShardId = m.ShardId
    WHERE m.ShardMapId = @map AND m.Readable = 1 AND (@shard IS NULL OR m.ShardId = @shard)
        AND m.MinValue < @below
        AND ((@kind = 1 AND m.MinValue >= @low) OR (@kind <> 1 AND (m.MaxValue IS NULL OR m.MaxValue > @low)))
    ORDER BY m.MinValue;
    COMMIT TRANSACTION;
    RETURN 1;
END
GO

-- For a range map this is the last range that begins at the key or below; whether it holds the key, the client sees.
IF OBJECT_ID(N'__ShardManagement.shardlet1_FindMappingByKey', N'P') IS NULL
    EXEC (N'CREATE PROCEDURE __ShardManagement.shardlet1_FindMappingByKey AS RETURN 0');
GO
ALTER PROCEDURE __ShardManagement.shardlet1_FindMappingByKey
    @map uniqueidentifier, @key varbinary(128)
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT ON;
    DECLARE @kind int;
    IF NOT EXISTS (SELECT 1 FROM __ShardManagement.ShardMapManagerGlobal WHERE StoreVersionMajor = 1)
    BEGIN
        SELECT StoreVersionMajor, StoreVersionMinor FROM __ShardManagement.ShardMapManagerGlobal;
        RETURN 51;
    END
    SELECT @kind = ShardMapType FROM __ShardManagement.ShardMapsGlobal WHERE ShardMapId = @map;
    IF @kind IS NULL RETURN 102;
    IF @kind = 1
        SELECT m.MappingId, m.ShardMapId, m.MinValue, m.MaxValue, m.Status, m.LockOwnerId,
            s.ShardId, s.Version, s.ShardMapId, s.Protocol, s.ServerName, s.Port, s.DatabaseName, s.Status
        FROM __ShardManagement.ShardMappingsGlobal AS m
        JOIN __ShardManagement.ShardsGlobal AS s ON s.ShardId = m.ShardId
        WHERE m.ShardMapId = @map AND m.MinValue = @key AND m.Readable = 1;
    ELSE
    BEGIN
        -- Where a change of the map is being written, one read might pass a new row's place before that is there and the old
        -- row's after it is gone. HOLDLOCK as in ListMappings.
        BEGIN TRANSACTION;
        SELECT @kind = ShardMapType FROM __ShardManagement.ShardMapsGlobal WITH (HOLDLOCK) WHERE ShardMapId = @map;
        SELECT TOP 1 m.MappingId, m.ShardMapId, m.MinValue, m.MaxValue, m.Status, m.LockOwnerId,
            s.ShardId, s.Version, s.ShardMapId, s.Protocol, s.ServerName, s.Port, s.DatabaseName, s.Status
        FROM __ShardManagement.ShardMappingsGlobal AS m
        JOIN __ShardManagement.ShardsGlobal AS s ON s.ShardId = m.ShardId
        WHERE m.ShardMapId = @map AND m.MinValue <= @key AND m.Readable = 1
        ORDER BY m.MinValue DESC;
        COMMIT TRANSACTION;
    END
    RETURN 1;
END
GO

IF OBJECT_ID(N'__ShardManagement.shardlet1_FindMappingById', N'P') IS NULL
    EXEC (N'CREATE PROCEDURE __ShardManagement.shardlet1_FindMappingById AS RETURN 0');
GO
ALTER PROCEDURE __ShardManagement.shardlet1_FindMappingById
    @map uniqueidentifier, @mapping uniqueidentifier
AS
BEGIN
    SET NOCOUNT ON;
    IF NOT EXISTS (SELECT 1 FROM __ShardManagement.ShardMapManagerGlobal WHERE StoreVersionMajor = 1)
    BEGIN
        SELECT StoreVersionMajor, StoreVersionMinor FROM __ShardManagement.ShardMapManagerGlobal;
        RETURN 51;
    END
    IF NOT EXISTS (SELECT 1 FROM __ShardManagement.ShardMapsGlobal WHERE ShardMapId = @map) RETURN 102;
    SELECT m.MappingId, m.ShardMapId, m.MinValue, m.MaxValue, m.Status, m.LockOwnerId,
        s.ShardId, s.Version, s.ShardMapId, s.Protocol, s.ServerName, s.Port, s.DatabaseName, s.Status
    FROM __ShardManagement.ShardMappingsGlobal AS m
    JOIN __ShardManagement.ShardsGlobal AS s ON s.ShardId = m.ShardId
    WHERE m.ShardMapId = @map AND m.MappingId = @mapping AND m.Readable = 1;
    RETURN 1;
END
GO

-- Two results: the maps, and the mappings of all maps. HOLDLOCK as in ListMappings, on every map.
IF OBJECT_ID(N'__ShardManagement.shardlet1_LoadAll', N'P') IS NULL
    EXEC (N'CREATE PROCEDURE __ShardManagement.shardlet1_LoadAll AS RETURN 0');
GO
ALTER PROCEDURE __ShardManagement.shardlet1_LoadAll
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT ON;
    IF NOT EXISTS (SELECT 1 FROM __ShardManagement.ShardMapManagerGlobal WHERE StoreVersionMajor = 1)
    BEGIN
        SELECT StoreVersionMajor, StoreVersionMinor FROM __ShardManagement.ShardMapManagerGlobal;
        RETURN 51;
    END
    BEGIN TRANSACTION;
    SELECT ShardMapId, Name, ShardMapType, KeyType FROM __ShardManagement.ShardMapsGlobal WITH (HOLDLOCK);
    SELECT m.MappingId, m.ShardMapId, m.MinValue, m.MaxValue, m.Status, m.LockOwnerId,
        s.ShardId, s.Version, s.ShardMapId, s.Protocol, s.ServerName, s.Port, s.DatabaseName, s.Status
    FROM __ShardManagement.ShardMappingsGlobal AS m
    JOIN __ShardManagement.ShardsGlobal AS s ON s.ShardId = m.ShardId
    WHERE m.Readable = 1
    ORDER BY m.ShardMapId, m.MinValue;
    COMMIT TRANSACTION;
    RETURN 1;
END
GO

-- @change: 0 locks a mapping, 1 unlocks it, 2 unlocks all mappings of the map that the token owns. Answers with the number
-- of mappings changed.
IF OBJECT_ID(N'__ShardManagement.shardlet1_ChangeLock', N'P') IS NULL
    EXEC (N'CREATE PROCEDURE __ShardManagement.shardlet1_ChangeLock AS RETURN 0');
GO
ALTER PROCEDURE __ShardManagement.shardlet1_ChangeLock
    @map uniqueidentifier, @change int, @mapping uniqueidentifier, @token uniqueidentifier
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT ON;
    DECLARE @nobody uniqueidentifier, @owner uniqueidentifier, @holder uniqueidentifier;
    DECLARE @refusal int, @changed int;
    SET @nobody = '00000000-0000-0000-0000-000000000000';
    IF NOT EXISTS (SELECT 1 FROM __ShardManagement.ShardMapManagerGlobal WHERE StoreVersionMajor = 1)
    BEGIN
        SELECT StoreVersionMajor, StoreVersionMinor FROM __ShardManagement.ShardMapManagerGlobal;
        RETURN 51;
    END
    BEGIN TRANSACTION;
    UPDATE __ShardManagement.ShardMapsGlobal SET KeyType = KeyType WHERE ShardMapId = @map;
    IF @@ROWCOUNT = 0
    BEGIN
        ROLLBACK TRANSACTION;
        RETURN 102;
    END
    IF @change = 2
        UPDATE __ShardManagement.ShardMappingsGlobal SET LockOwnerId = @nobody
        WHERE ShardMapId = @map AND LockOwnerId = @token AND @token <> @nobody;
    ELSE
    BEGIN
        SELECT @owner = LockOwnerId, @holder = OperationId FROM __ShardManagement.ShardMappingsGlobal
        WHERE ShardMapId = @map AND MappingId = @mapping;
        IF @owner IS NULL SET @refusal = 301;
        ELSE IF @holder IS NOT NULL SET @refusal = 52;
        ELSE IF @change = 0 AND @owner <> @nobody SET @refusal = 308;
        ELSE IF @change = 1 AND @owner <> @token AND @token <> 'ffffffff-ffff-ffff-ffff-ffffffffffff'
            SET @refusal = 307;
        IF @refusal IS NOT NULL
        BEGIN
            IF @refusal = 52
                SELECT OperationId, OperationCode, CONVERT(nvarchar(max), Data), UndoStartState, ShardVersionRemoves,
                    ShardVersionAdds
                FROM __ShardManagement.OperationsLogGlobal WHERE OperationId = @holder;
            ROLLBACK TRANSACTION;
            RETURN @refusal;
        END
        UPDATE __ShardManagement.ShardMappingsGlobal SET LockOwnerId = CASE @change WHEN 0 THEN @token ELSE @nobody END
        WHERE ShardMapId = @map AND MappingId = @mapping;
    END
    SET @changed = @@ROWCOUNT;
    COMMIT TRANSACTION;
    SELECT @changed;
    RETURN 1;
END
GO

IF OBJECT_ID(N'__ShardManagement.shardlet1_ListOperations', N'P') IS NULL
    EXEC (N'CREATE PROCEDURE __ShardManagement.shardlet1_ListOperations AS RETURN 0');
GO
ALTER PROCEDURE __ShardManagement.shardlet1_ListOperations
AS
BEGIN
    SET NOCOUNT ON;
    IF NOT EXISTS (SELECT 1 FROM __ShardManagement.ShardMapManagerGlobal WHERE StoreVersionMajor = 1)
    BEGIN
        SELECT StoreVersionMajor, StoreVersionMinor FROM __ShardManagement.ShardMapManagerGlobal;
        RETURN 51;
    END
    SELECT OperationId, OperationCode, CONVERT(nvarchar(max), Data), UndoStartState, ShardVersionRemoves, ShardVersionAdds
    FROM __ShardManagement.OperationsLogGlobal;
    RETURN 1;
END
GO

IF OBJECT_ID(N'__ShardManagement.shardlet1_FindOperation', N'P') IS NULL
    EXEC (N'CREATE PROCEDURE __ShardManagement.shardlet1_FindOperation AS RETURN 0');
GO
ALTER PROCEDURE __ShardManagement.shardlet1_FindOperation
    @operation uniqueidentifier, @undoStart int
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT ON;
    IF NOT EXISTS (SELECT 1 FROM __ShardManagement.ShardMapManagerGlobal WHERE StoreVersionMajor = 1)
    BEGIN
        SELECT StoreVersionMajor, StoreVersionMinor FROM __ShardManagement.ShardMapManagerGlobal;
        RETURN 51;
    END
    UPDATE __ShardManagement.OperationsLogGlobal SET UndoStartState = @undoStart WHERE OperationId = @operation;
    SELECT OperationId, OperationCode, CONVERT(nvarchar(max), Data), UndoStartState, ShardVersionRemoves, ShardVersionAdds
    FROM __ShardManagement.OperationsLogGlobal WHERE OperationId = @operation;
    RETURN 1;
END
GO

-- @kind: 1 removes the shard, 2 updates it, 3 adds it. Where the operation has begun before, nothing is changed.
IF OBJECT_ID(N'__ShardManagement.shardlet1_BeginShard', N'P') IS NULL
    EXEC (N'CREATE PROCEDURE __ShardManagement.shardlet1_BeginShard AS RETURN 0');
GO
ALTER PROCEDURE __ShardManagement.shardlet1_BeginShard
    @operation uniqueidentifier, @code int, @data nvarchar(max), @map uniqueidentifier, @kind int,
    @shard uniqueidentifier, @version uniqueidentifier, @protocol int, @server nvarchar(128), @port int,
    @database nvarchar(128), @status int
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT ON;
    DECLARE @found uniqueidentifier, @holder uniqueidentifier, @refusal int;
    IF NOT EXISTS (SELECT 1 FROM __ShardManagement.ShardMapManagerGlobal WHERE StoreVersionMajor = 1)
    BEGIN
        SELECT StoreVersionMajor, StoreVersionMinor FROM __ShardManagement.ShardMapManagerGlobal;
        RETURN 51;
    END
    BEGIN TRANSACTION;
    UPDATE __ShardManagement.ShardMapsGlobal SET KeyType = KeyType WHERE ShardMapId = @map;
    IF @@ROWCOUNT = 0 SET @refusal = 102;
    ELSE IF @kind = 3
    BEGIN
        SELECT @found = ShardId, @holder = OperationId FROM __ShardManagement.ShardsGlobal WHERE ShardId = @shard;
        IF @found IS NOT NULL SET @refusal = CASE WHEN @holder IS NULL THEN 201 ELSE 52 END;
        ELSE
        BEGIN
            SELECT @found = ShardId, @holder = OperationId FROM __ShardManagement.ShardsGlobal
            WHERE ShardMapId = @map AND Protocol = @protocol AND ServerName = @server AND Port = @port
                AND DatabaseName = @database;
            IF @found IS NOT NULL SET @refusal = CASE WHEN @holder IS NULL THEN 205 ELSE 52 END;
            ELSE
                INSERT INTO __ShardManagement.ShardsGlobal (ShardId, Readable, Version, ShardMapId, OperationId, Protocol,
                    ServerName, Port, DatabaseName, Status)
                VALUES (@shard, 0, @version, @map, @operation, @protocol, @server, @port, @database, @status);
        END
    END
    ELSE
    BEGIN
        SELECT @found = Version, @holder = OperationId FROM __ShardManagement.ShardsGlobal
        WHERE ShardMapId = @map AND ShardId = @shard AND Readable = 1;
        IF @found IS NULL SET @refusal = 202;
        ELSE IF @holder IS NOT NULL SET @refusal = 52;
        ELSE IF @found <> @version SET @refusal = 204;
        ELSE IF @kind = 1 AND EXISTS (SELECT 1 FROM __ShardManagement.ShardMappingsGlobal WHERE ShardId = @shard)
            SET @refusal = 203;
        ELSE
            UPDATE __ShardManagement.ShardsGlobal SET OperationId = @operation
            WHERE ShardMapId = @map AND ShardId = @shard;
    END
    IF @refusal = 52 AND @holder = @operation SET @refusal = 1;
    IF @refusal IS NOT NULL
    BEGIN
        IF @refusal = 52
            SELECT OperationId, OperationCode, CONVERT(nvarchar(max), Data), UndoStartState, ShardVersionRemoves,
                ShardVersionAdds
            FROM __ShardManagement.OperationsLogGlobal WHERE OperationId = @holder;
        ROLLBACK TRANSACTION;
        RETURN @refusal;
    END
    IF NOT EXISTS (SELECT 1 FROM __ShardManagement.OperationsLogGlobal WHERE OperationId = @operation)
        INSERT INTO __ShardManagement.OperationsLogGlobal (OperationId, OperationCode, Data)
        VALUES (@operation, @code, CONVERT(xml, @data));
    COMMIT TRANSACTION;
    RETURN 1;
END
GO

-- Each change asks for the stamp, so that repeating an end changes nothing. @lock names the operation's lock, which is
-- released after the commit; the answer says whether it was (0 or more).
IF OBJECT_ID(N'__ShardManagement.shardlet1_EndShard', N'P') IS NULL
    EXEC (N'CREATE PROCEDURE __ShardManagement.shardlet1_EndShard AS RETURN 0');
GO
ALTER PROCEDURE __ShardManagement.shardlet1_EndShard
    @operation uniqueidentifier, @undo bit, @map uniqueidentifier, @kind int, @shard uniqueidentifier,
    @version uniqueidentifier, @status int, @lock nvarchar(255)
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT ON;
    IF NOT EXISTS (SELECT 1 FROM __ShardManagement.ShardMapManagerGlobal WHERE StoreVersionMajor = 1)
    BEGIN
        SELECT StoreVersionMajor, StoreVersionMinor FROM __ShardManagement.ShardMapManagerGlobal;
        RETURN 51;
    END
    BEGIN TRANSACTION;
    UPDATE __ShardManagement.ShardMapsGlobal SET KeyType = KeyType WHERE ShardMapId = @map;
    IF @@ROWCOUNT = 0
    BEGIN
        ROLLBACK TRANSACTION;
        RETURN 102;
    END
    IF (@kind = 1 AND @undo = 0) OR (@kind = 3 AND @undo = 1)
        DELETE FROM __ShardManagement.ShardsGlobal
        WHERE ShardMapId = @map AND ShardId = @shard AND OperationId = @operation;
    ELSE IF @kind = 2 AND @undo = 0
        UPDATE __ShardManagement.ShardsGlobal SET Version = @version, Status = @status, OperationId = NULL
        WHERE ShardMapId = @map AND ShardId = @shard AND OperationId = @operation;
    ELSE
        UPDATE __ShardManagement.ShardsGlobal
        SET Readable = CASE @kind WHEN 3 THEN 1 ELSE Readable END, OperationId = NULL
        WHERE ShardMapId = @map AND ShardId = @shard AND OperationId = @operation;
    DELETE FROM __ShardManagement.OperationsLogGlobal WHERE OperationId = @operation;
    COMMIT TRANSACTION;
    DECLARE @released int;
    SET @released = -1;
    BEGIN TRY
        EXEC @released = sp_releaseapplock @Resource = @lock, @LockOwner = N'Session';
    END TRY
    BEGIN CATCH
        SET @released = -1;
    END CATCH
    SELECT @released;
    RETURN 1;
END
GO

-- @steps is an array of { n, kind, id, lock, status, newId, newStatus, min, max, validate }: n is the place, kind 1 removes,
-- 2 updates, 3 adds; keys are hexadecimal text, and max is null for a point and for +infinity. @adding says that all of them add:
-- there may be many then, and taking the text apart costs more than all else. @kept, if any, has to be a mapping of the shard that
-- is added to. A shard with status 0 takes no mappings that were not its own before: that is refused with 1201.
IF OBJECT_ID(N'__ShardManagement.shardlet1_BeginMappings', N'P') IS NULL
    EXEC (N'CREATE PROCEDURE __ShardManagement.shardlet1_BeginMappings AS RETURN 0');
GO
ALTER PROCEDURE __ShardManagement.shardlet1_BeginMappings
    @operation uniqueidentifier, @code int, @data nvarchar(max), @map uniqueidentifier, @removes uniqueidentifier,
    @adds uniqueidentifier, @steps nvarchar(max), @kept uniqueidentifier = NULL, @adding bit = 0
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT ON;
    DECLARE @mapKind int, @refusal int, @holder uniqueidentifier, @suspect int, @status int;
    DECLARE @removesVersion uniqueidentifier, @addsVersion uniqueidentifier;
    DECLARE @beyond varbinary(129);
    SET @beyond = CONVERT(varbinary(129), '0x' + REPLICATE('ff', 129), 1);
    IF NOT EXISTS (SELECT 1 FROM __ShardManagement.ShardMapManagerGlobal WHERE StoreVersionMajor = 1)
    BEGIN
        SELECT StoreVersionMajor, StoreVersionMinor FROM __ShardManagement.ShardMapManagerGlobal;
        RETURN 51;
    END
    BEGIN TRANSACTION;
    UPDATE __ShardManagement.ShardMapsGlobal SET KeyType = KeyType WHERE ShardMapId = @map;
    SELECT @mapKind = ShardMapType FROM __ShardManagement.ShardMapsGlobal WHERE ShardMapId = @map;
    IF @mapKind IS NULL SET @refusal = 102;
    IF @refusal IS NULL
    BEGIN
        SELECT @removesVersion = Version, @holder = OperationId, @status = Status FROM __ShardManagement.ShardsGlobal
        WHERE ShardMapId = @map AND ShardId = @removes AND Readable = 1;
        IF @removesVersion IS NULL SET @refusal = 202;
        ELSE IF @holder = @operation SET @refusal = 1;
        ELSE IF @holder IS NOT NULL SET @refusal = 52;
    END
    IF @refusal IS NULL AND @adds <> @removes
    BEGIN
        SELECT @addsVersion = Version, @holder = OperationId, @status = Status FROM __ShardManagement.ShardsGlobal
        WHERE ShardMapId = @map AND ShardId = @adds AND Readable = 1;
        IF @addsVersion IS NULL SET @refusal = 202;
        ELSE IF @holder IS NOT NULL SET @refusal = 52;
    END
    IF @refusal IS NULL AND @status = 0 AND (@adding = 1 OR @adds <> @removes) SET @refusal = 1201;
    IF @refusal IS NULL AND @kept IS NOT NULL AND NOT EXISTS (
        SELECT 1 FROM __ShardManagement.ShardMappingsGlobal
        WHERE ShardMapId = @map AND MappingId = @kept AND ShardId = @adds AND Readable = 1) SET @refusal = 301;
    IF @refusal IS NULL AND @adding = 0
        SELECT TOP 1 @refusal = CASE
            WHEN m.MappingId IS NULL THEN 301
            WHEN m.LockOwnerId <> s.Lock THEN 307
            ELSE 306 END
        FROM OPENJSON(@steps) WITH (N int '$.n', Kind int '$.kind', Id uniqueidentifier '$.id',
            Lock uniqueidentifier '$.lock', NewStatus int '$.newStatus') AS s
        LEFT JOIN __ShardManagement.ShardMappingsGlobal AS m
            ON m.ShardMapId = @map AND m.MappingId = s.Id AND m.Readable = 1
        WHERE s.Kind IN (1, 2) AND (m.MappingId IS NULL OR m.LockOwnerId <> s.Lock
            OR (m.Status = 1 AND s.Kind = 1 AND @code IN (5, 9, 13))
            OR (m.Status = 1 AND s.Kind = 2 AND s.NewStatus = 1 AND @removes <> @adds))
        ORDER BY s.N;
    -- A row that no unfinished operation can take away decides over one that is pending.
    IF @refusal IS NULL AND @mapKind = 1
        SELECT TOP 1 @refusal = CASE WHEN m.OperationId IS NULL OR m.OperationId = @operation THEN 303 ELSE 52 END,
            @holder = m.OperationId
        FROM OPENJSON(@steps) WITH (Kind int '$.kind', Low varchar(260) '$.min', Validate bit '$.validate') AS s
        JOIN __ShardManagement.ShardMappingsGlobal AS m
            ON m.ShardMapId = @map AND m.MinValue = CONVERT(varbinary(128), s.Low, 1)
        WHERE s.Kind = 3 AND s.Validate = 1
        ORDER BY CASE WHEN m.OperationId IS NULL OR m.OperationId = @operation THEN 0 ELSE 1 END;
    -- Readable ranges do not overlap. What a split or a merge adds covers the same keys as readable ranges, and what else is added
    -- is beside them. So the last row that begins below the high bound tells, if it is readable.
    IF @refusal IS NULL AND @mapKind <> 1
        SELECT TOP 1 @suspect = 1
        FROM OPENJSON(@steps) WITH (Kind int '$.kind', Low varchar(260) '$.min', High varchar(260) '$.max',
            Validate bit '$.validate') AS s
        CROSS APPLY (
            SELECT TOP 1 r.MaxValue, r.Readable FROM __ShardManagement.ShardMappingsGlobal AS r
            WHERE r.ShardMapId = @map AND r.MinValue < COALESCE(CONVERT(varbinary(129), s.High, 1), @beyond)
            ORDER BY r.MinValue DESC) AS m
        WHERE s.Kind = 3 AND s.Validate = 1
            AND (m.Readable = 0 OR m.MaxValue IS NULL OR m.MaxValue > CONVERT(varbinary(128), s.Low, 1));
    -- Those of which it does not tell are looked at closely. A readable row that no unfinished operation can take away decides over
    -- others.
    IF @refusal IS NULL AND @suspect IS NOT NULL
        SELECT TOP 1 @refusal = CASE WHEN m.OperationId IS NULL OR m.OperationId = @operation THEN 302 ELSE 52 END,
            @holder = m.OperationId
        FROM OPENJSON(@steps) WITH (Kind int '$.kind', Low varchar(260) '$.min', High varchar(260) '$.max',
            Validate bit '$.validate') AS s
        CROSS APPLY (
            SELECT TOP 1 r.MaxValue, r.Readable FROM __ShardManagement.ShardMappingsGlobal AS r
            WHERE r.ShardMapId = @map AND r.MinValue < COALESCE(CONVERT(varbinary(129), s.High, 1), @beyond)
            ORDER BY r.MinValue DESC) AS l
        CROSS APPLY (
            SELECT TOP 1 r.MaxValue, r.OperationId FROM __ShardManagement.ShardMappingsGlobal AS r
            WHERE r.ShardMapId = @map AND r.Readable = 1
                AND r.MinValue < COALESCE(CONVERT(varbinary(129), s.High, 1), @beyond)
            ORDER BY r.MinValue DESC) AS m
        WHERE s.Kind = 3 AND s.Validate = 1
            AND (l.Readable = 0 OR l.MaxValue IS NULL OR l.MaxValue > CONVERT(varbinary(128), s.Low, 1))
            AND (m.MaxValue IS NULL OR m.MaxValue > CONVERT(varbinary(128), s.Low, 1))
        ORDER BY CASE WHEN m.OperationId IS NULL OR m.OperationId = @operation THEN 0 ELSE 1 END;
    IF @refusal IS NULL AND @suspect IS NOT NULL
        SELECT TOP 1 @refusal = CASE WHEN m.OperationId = @operation THEN 302 ELSE 52 END, @holder = m.OperationId
        FROM OPENJSON(@steps) WITH (Kind int '$.kind', Low varchar(260) '$.min', High varchar(260) '$.max',
            Validate bit '$.validate') AS s
        CROSS APPLY (
            SELECT TOP 1 r.MaxValue, r.Readable FROM __ShardManagement.ShardMappingsGlobal AS r
            WHERE r.ShardMapId = @map AND r.MinValue < COALESCE(CONVERT(varbinary(129), s.High, 1), @beyond)
            ORDER BY r.MinValue DESC) AS l
        JOIN __ShardManagement.ShardMappingsGlobal AS m
            ON m.ShardMapId = @map AND m.OperationId IS NOT NULL AND m.Readable = 0
            AND m.MinValue < COALESCE(CONVERT(varbinary(129), s.High, 1), @beyond)
            AND (m.MaxValue IS NULL OR m.MaxValue > CONVERT(varbinary(128), s.Low, 1))
        WHERE s.Kind = 3 AND s.Validate = 1
            AND (l.Readable = 0 OR l.MaxValue IS NULL OR l.MaxValue > CONVERT(varbinary(128), s.Low, 1))
        ORDER BY CASE WHEN m.OperationId = @operation THEN 0 ELSE 1 END;
    IF @refusal IS NOT NULL
    BEGIN
        IF @refusal = 52
            SELECT OperationId, OperationCode, CONVERT(nvarchar(max), Data), UndoStartState, ShardVersionRemoves,
                ShardVersionAdds
            FROM __ShardManagement.OperationsLogGlobal WHERE OperationId = @holder;
        ROLLBACK TRANSACTION;
        RETURN @refusal;
    END
    UPDATE __ShardManagement.ShardsGlobal SET OperationId = @operation
    WHERE ShardMapId = @map AND ShardId IN (@removes, @adds);
    IF NOT EXISTS (SELECT 1 FROM __ShardManagement.OperationsLogGlobal WHERE OperationId = @operation)
        INSERT INTO __ShardManagement.OperationsLogGlobal (OperationId, OperationCode, Data, ShardVersionRemoves,
            ShardVersionAdds)
        VALUES (@operation, @code, CONVERT(xml, @data), @removesVersion, COALESCE(@addsVersion, @removesVersion));
    IF @adding = 0
        UPDATE m SET OperationId = @operation
        FROM __ShardManagement.ShardMappingsGlobal AS m
        JOIN OPENJSON(@steps) WITH (Kind int '$.kind', Id uniqueidentifier '$.id') AS s ON s.Id = m.MappingId
        WHERE m.ShardMapId = @map AND s.Kind IN (1, 2);
    INSERT INTO __ShardManagement.ShardMappingsGlobal (MappingId, Readable, ShardId, ShardMapId, OperationId, MinValue,
        MaxValue, Status, LockOwnerId)
    SELECT s.Id, 0, @adds, @map, @operation, CONVERT(varbinary(128), s.Low, 1), CONVERT(varbinary(128), s.High, 1),
        s.Status, s.Lock
    FROM OPENJSON(@steps) WITH (Kind int '$.kind', Id uniqueidentifier '$.id', Lock uniqueidentifier '$.lock',
        Status int '$.status', Low varchar(260) '$.min', High varchar(260) '$.max') AS s
    WHERE s.Kind = 3;
    COMMIT TRANSACTION;
    RETURN 1;
END
GO

-- @adding, @steps and @lock as above. Each change asks for the stamp, so that repeating an end changes nothing.
IF OBJECT_ID(N'__ShardManagement.shardlet1_EndMappings', N'P') IS NULL
    EXEC (N'CREATE PROCEDURE __ShardManagement.shardlet1_EndMappings AS RETURN 0');
GO
ALTER PROCEDURE __ShardManagement.shardlet1_EndMappings
    @operation uniqueidentifier, @undo bit, @map uniqueidentifier, @removes uniqueidentifier,
    @removesVersion uniqueidentifier, @adds uniqueidentifier, @addsVersion uniqueidentifier, @steps nvarchar(max),
    @lock nvarchar(255), @adding bit = 0
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT ON;
    IF NOT EXISTS (SELECT 1 FROM __ShardManagement.ShardMapManagerGlobal WHERE StoreVersionMajor = 1)
    BEGIN
        SELECT StoreVersionMajor, StoreVersionMinor FROM __ShardManagement.ShardMapManagerGlobal;
        RETURN 51;
    END
    BEGIN TRANSACTION;
    UPDATE __ShardManagement.ShardMapsGlobal SET KeyType = KeyType WHERE ShardMapId = @map;
    IF @@ROWCOUNT = 0
    BEGIN
        ROLLBACK TRANSACTION;
        RETURN 102;
    END
    -- What goes, goes first: what comes may begin at the same key. What is not readable is what the operation adds.
    IF @undo = 1
        DELETE FROM __ShardManagement.ShardMappingsGlobal
        WHERE ShardMapId = @map AND OperationId = @operation AND Readable = 0;
    ELSE IF @adding = 0
    BEGIN
        DELETE m
        FROM __ShardManagement.ShardMappingsGlobal AS m
        JOIN OPENJSON(@steps) WITH (Kind int '$.kind', Id uniqueidentifier '$.id') AS s ON s.Id = m.MappingId
        WHERE m.ShardMapId = @map AND m.OperationId = @operation AND s.Kind = 1;
        UPDATE m SET MappingId = s.NewId, ShardId = @adds, Status = s.NewStatus, OperationId = NULL
        FROM __ShardManagement.ShardMappingsGlobal AS m
        JOIN OPENJSON(@steps) WITH (Kind int '$.kind', Id uniqueidentifier '$.id', NewId uniqueidentifier '$.newId',
            NewStatus int '$.newStatus') AS s ON s.Id = m.MappingId
        WHERE m.ShardMapId = @map AND m.OperationId = @operation AND s.Kind = 2;
    END
    UPDATE __ShardManagement.ShardMappingsGlobal SET Readable = 1, OperationId = NULL
    WHERE ShardMapId = @map AND OperationId = @operation;
    UPDATE __ShardManagement.ShardsGlobal
    SET Version = CASE WHEN @undo = 1 THEN Version WHEN ShardId = @adds THEN @addsVersion ELSE @removesVersion END,
        OperationId = NULL
    WHERE ShardMapId = @map AND ShardId IN (@removes, @adds) AND OperationId = @operation;
    DELETE FROM __ShardManagement.OperationsLogGlobal WHERE OperationId = @operation;
    COMMIT TRANSACTION;
    DECLARE @released int;
    SET @released = -1;
    BEGIN TRY
        EXEC @released = sp_releaseapplock @Resource = @lock, @LockOwner = N'Session';
    END TRY
    BEGIN CATCH
        SET @released = -1;
    END CATCH
    SELECT @released;
    RETURN 1;
END
GO

-- Ends the mending of a shard: its row is written anew, mappings leave it and others come. @steps is an array of { kind, id,
-- lock, status, min, max }: kind 1 removes, 3 adds. Where the stamp is gone this was done before. Refused with 205 where
-- another shard of the map is at the location, with 303 or 302 where a mapping that comes collides with another, with 52
-- where that one is of an unfinished operation. @lock as in EndShard.
IF OBJECT_ID(N'__ShardManagement.shardlet1_EndMending', N'P') IS NULL
    EXEC (N'CREATE PROCEDURE __ShardManagement.shardlet1_EndMending AS RETURN 0');
GO
ALTER PROCEDURE __ShardManagement.shardlet1_EndMending
    @operation uniqueidentifier, @map uniqueidentifier, @shard uniqueidentifier, @version uniqueidentifier,
    @protocol int, @server nvarchar(128), @port int, @database nvarchar(128), @status int, @steps nvarchar(max),
    @lock nvarchar(255)
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT ON;
    DECLARE @mapKind int, @refusal int;
    DECLARE @beyond varbinary(129);
    SET @beyond = CONVERT(varbinary(129), '0x' + REPLICATE('ff', 129), 1);
    IF NOT EXISTS (SELECT 1 FROM __ShardManagement.ShardMapManagerGlobal WHERE StoreVersionMajor = 1)
    BEGIN
        SELECT StoreVersionMajor, StoreVersionMinor FROM __ShardManagement.ShardMapManagerGlobal;
        RETURN 51;
    END
    BEGIN TRANSACTION;
    UPDATE __ShardManagement.ShardMapsGlobal SET KeyType = KeyType WHERE ShardMapId = @map;
    SELECT @mapKind = ShardMapType FROM __ShardManagement.ShardMapsGlobal WHERE ShardMapId = @map;
    IF @mapKind IS NULL SET @refusal = 102;
    ELSE IF EXISTS (SELECT 1 FROM __ShardManagement.ShardsGlobal
        WHERE ShardMapId = @map AND ShardId = @shard AND OperationId = @operation)
    BEGIN
        IF EXISTS (SELECT 1 FROM __ShardManagement.ShardsGlobal
            WHERE ShardMapId = @map AND Protocol = @protocol AND ServerName = @server AND Port = @port
                AND DatabaseName = @database AND ShardId <> @shard)
            SET @refusal = 205;
        DELETE m
        FROM __ShardManagement.ShardMappingsGlobal AS m
        JOIN OPENJSON(@steps) WITH (Kind int '$.kind', Id uniqueidentifier '$.id') AS s ON s.Id = m.MappingId
        WHERE m.ShardMapId = @map AND m.ShardId = @shard AND s.Kind = 1;
        IF @mapKind = 1
            SELECT TOP 1 @refusal = CASE WHEN m.OperationId IS NULL OR m.OperationId = @operation THEN 303 ELSE 52 END
            FROM OPENJSON(@steps) WITH (Kind int '$.kind', Low varchar(260) '$.min') AS s
            JOIN __ShardManagement.ShardMappingsGlobal AS m
                ON m.ShardMapId = @map AND m.MinValue = CONVERT(varbinary(128), s.Low, 1)
            WHERE s.Kind = 3
            ORDER BY CASE WHEN m.OperationId IS NULL OR m.OperationId = @operation THEN 0 ELSE 1 END;
        ELSE
        BEGIN
            -- As in BeginMappings.
            SELECT TOP 1 @refusal = CASE WHEN m.OperationId IS NULL OR m.OperationId = @operation THEN 302 ELSE 52 END
            FROM OPENJSON(@steps) WITH (Kind int '$.kind', Low varchar(260) '$.min', High varchar(260) '$.max') AS s
            CROSS APPLY (
                SELECT TOP 1 r.MaxValue, r.OperationId FROM __ShardManagement.ShardMappingsGlobal AS r
                WHERE r.ShardMapId = @map AND r.Readable = 1
                    AND r.MinValue < COALESCE(CONVERT(varbinary(129), s.High, 1), @beyond)
                ORDER BY r.MinValue DESC) AS m
            WHERE s.Kind = 3 AND (m.MaxValue IS NULL OR m.MaxValue > CONVERT(varbinary(128), s.Low, 1))
            ORDER BY CASE WHEN m.OperationId IS NULL OR m.OperationId = @operation THEN 0 ELSE 1 END;
            IF @refusal IS NULL AND EXISTS (
                SELECT 1
                FROM OPENJSON(@steps) WITH (Kind int '$.kind', Low varchar(260) '$.min', High varchar(260) '$.max') AS s
                JOIN __ShardManagement.ShardMappingsGlobal AS m
                    ON m.ShardMapId = @map AND m.OperationId IS NOT NULL AND m.Readable = 0
                    AND m.MinValue < COALESCE(CONVERT(varbinary(129), s.High, 1), @beyond)
                    AND (m.MaxValue IS NULL OR m.MaxValue > CONVERT(varbinary(128), s.Low, 1))
                WHERE s.Kind = 3)
                SET @refusal = 52;
        END
        IF @refusal IS NULL
        BEGIN
            INSERT INTO __ShardManagement.ShardMappingsGlobal (MappingId, Readable, ShardId, ShardMapId, OperationId, MinValue,
                MaxValue, Status, LockOwnerId)
            SELECT s.Id, 1, @shard, @map, NULL, CONVERT(varbinary(128), s.Low, 1), CONVERT(varbinary(128), s.High, 1),
                s.Status, s.Lock
            FROM OPENJSON(@steps) WITH (Kind int '$.kind', Id uniqueidentifier '$.id', Lock uniqueidentifier '$.lock',
                Status int '$.status', Low varchar(260) '$.min', High varchar(260) '$.max') AS s
            WHERE s.Kind = 3;
            UPDATE __ShardManagement.ShardsGlobal
            SET Version = @version, Protocol = @protocol, ServerName = @server, Port = @port, DatabaseName = @database,
                Status = @status, OperationId = NULL
            WHERE ShardMapId = @map AND ShardId = @shard;
        END
    END
    IF @refusal IS NOT NULL
    BEGIN
        ROLLBACK TRANSACTION;
        RETURN @refusal;
    END
    DELETE FROM __ShardManagement.OperationsLogGlobal WHERE OperationId = @operation;
    COMMIT TRANSACTION;
    DECLARE @released int;
    SET @released = -1;
    BEGIN TRY
        EXEC @released = sp_releaseapplock @Resource = @lock, @LockOwner = N'Session';
    END TRY
    BEGIN CATCH
        SET @released = -1;
    END CATCH
    SELECT @released;
    RETURN 1;
END
GO

-- Takes a shard out of a map without a word to the shard: its row and its mappings. Answers with how many those were.
IF OBJECT_ID(N'__ShardManagement.shardlet1_DetachShard', N'P') IS NULL
    EXEC (N'CREATE PROCEDURE __ShardManagement.shardlet1_DetachShard AS RETURN 0');
GO
ALTER PROCEDURE __ShardManagement.shardlet1_DetachShard
    @map uniqueidentifier, @shard uniqueidentifier
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT ON;
    DECLARE @found uniqueidentifier, @holder uniqueidentifier, @refusal int, @mappings int;
    IF NOT EXISTS (SELECT 1 FROM __ShardManagement.ShardMapManagerGlobal WHERE StoreVersionMajor = 1)
    BEGIN
        SELECT StoreVersionMajor, StoreVersionMinor FROM __ShardManagement.ShardMapManagerGlobal;
        RETURN 51;
    END
    BEGIN TRANSACTION;
    UPDATE __ShardManagement.ShardMapsGlobal SET KeyType = KeyType WHERE ShardMapId = @map;
    IF @@ROWCOUNT = 0 SET @refusal = 102;
    ELSE
    BEGIN
        SELECT @found = ShardId, @holder = OperationId FROM __ShardManagement.ShardsGlobal
        WHERE ShardMapId = @map AND ShardId = @shard;
        IF @found IS NULL SET @refusal = 202;
        ELSE IF @holder IS NOT NULL SET @refusal = 52;
    END
    IF @refusal IS NOT NULL
    BEGIN
        IF @refusal = 52
            SELECT OperationId, OperationCode, CONVERT(nvarchar(max), Data), UndoStartState, ShardVersionRemoves,
                ShardVersionAdds
            FROM __ShardManagement.OperationsLogGlobal WHERE OperationId = @holder;
        ROLLBACK TRANSACTION;
        RETURN @refusal;
    END
    DELETE FROM __ShardManagement.ShardMappingsGlobal WHERE ShardMapId = @map AND ShardId = @shard;
    SET @mappings = @@ROWCOUNT;
    DELETE FROM __ShardManagement.ShardsGlobal WHERE ShardMapId = @map AND ShardId = @shard;
    COMMIT TRANSACTION;
    SELECT @mappings;
    RETURN 1;
END
GO

-- Descriptions of shards, the one table of this library beside those of the reference library. It has no reference to them: its
-- clients delete rows of theirs, and drop them, without a thought of it. What belongs to no shard any more goes with the next
-- description that is written in the map, or in any where the map is gone, too. It is here and not in 0102.sql, so that every
-- store gets it whose procedures are installed.
IF OBJECT_ID(N'__ShardManagement.ShardDescriptionsGlobal', N'U') IS NULL
    CREATE TABLE __ShardManagement.ShardDescriptionsGlobal (
        ShardId uniqueidentifier NOT NULL,
        ShardMapId uniqueidentifier NOT NULL,
        Description nvarchar(1000) NOT NULL,
        CONSTRAINT pkShardDescriptionsGlobal_ShardId PRIMARY KEY (ShardId)
    );
GO

-- An empty @description takes away what is there; blanks are a description, though '=' takes them for an empty text.
IF OBJECT_ID(N'__ShardManagement.shardlet1_DescribeShard', N'P') IS NULL
    EXEC (N'CREATE PROCEDURE __ShardManagement.shardlet1_DescribeShard AS RETURN 0');
GO
ALTER PROCEDURE __ShardManagement.shardlet1_DescribeShard
    @map uniqueidentifier, @shard uniqueidentifier, @description nvarchar(1000)
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT ON;
    IF NOT EXISTS (SELECT 1 FROM __ShardManagement.ShardMapManagerGlobal WHERE StoreVersionMajor = 1)
    BEGIN
        SELECT StoreVersionMajor, StoreVersionMinor FROM __ShardManagement.ShardMapManagerGlobal;
        RETURN 51;
    END
    -- The maps that there are, by which those that are gone are known. Read while no row is held: two clients that each hold the
    -- row of their map and look for the other's would wait for ever. A map that comes back meanwhile keeps what has a shard.
    DECLARE @maps nvarchar(max) = (SELECT ShardMapId AS id FROM __ShardManagement.ShardMapsGlobal FOR JSON PATH);
    BEGIN TRANSACTION;
    UPDATE __ShardManagement.ShardMapsGlobal SET KeyType = KeyType WHERE ShardMapId = @map;
    IF @@ROWCOUNT = 0
    BEGIN
        ROLLBACK TRANSACTION;
        RETURN 102;
    END
    IF NOT EXISTS (SELECT 1 FROM __ShardManagement.ShardsGlobal
        WHERE ShardMapId = @map AND ShardId = @shard AND Readable = 1)
    BEGIN
        ROLLBACK TRANSACTION;
        RETURN 202;
    END
    DELETE d FROM __ShardManagement.ShardDescriptionsGlobal AS d
    WHERE (d.ShardMapId = @map OR NOT EXISTS (SELECT 1 FROM OPENJSON(@maps) WITH (Id uniqueidentifier '$.id') AS m
            WHERE m.Id = d.ShardMapId))
        AND NOT EXISTS (SELECT 1 FROM __ShardManagement.ShardsGlobal AS s
            WHERE s.ShardId = d.ShardId AND s.ShardMapId = d.ShardMapId);
    IF DATALENGTH(@description) = 0
        DELETE FROM __ShardManagement.ShardDescriptionsGlobal WHERE ShardId = @shard;
    ELSE
    BEGIN
        UPDATE __ShardManagement.ShardDescriptionsGlobal SET ShardMapId = @map, Description = @description
        WHERE ShardId = @shard;
        IF @@ROWCOUNT = 0
            INSERT INTO __ShardManagement.ShardDescriptionsGlobal (ShardId, ShardMapId, Description)
            VALUES (@shard, @map, @description);
    END
    COMMIT TRANSACTION;
    RETURN 1;
END
GO

IF OBJECT_ID(N'__ShardManagement.shardlet1_ListShardDescriptions', N'P') IS NULL
    EXEC (N'CREATE PROCEDURE __ShardManagement.shardlet1_ListShardDescriptions AS RETURN 0');
GO
ALTER PROCEDURE __ShardManagement.shardlet1_ListShardDescriptions
    @map uniqueidentifier
AS
BEGIN
    SET NOCOUNT ON;
    IF NOT EXISTS (SELECT 1 FROM __ShardManagement.ShardMapManagerGlobal WHERE StoreVersionMajor = 1)
    BEGIN
        SELECT StoreVersionMajor, StoreVersionMinor FROM __ShardManagement.ShardMapManagerGlobal;
        RETURN 51;
    END
    IF NOT EXISTS (SELECT 1 FROM __ShardManagement.ShardMapsGlobal WHERE ShardMapId = @map) RETURN 102;
    SELECT d.ShardId, d.Description
    FROM __ShardManagement.ShardDescriptionsGlobal AS d
    JOIN __ShardManagement.ShardsGlobal AS s ON s.ShardId = d.ShardId AND s.ShardMapId = d.ShardMapId
    WHERE s.ShardMapId = @map AND s.Readable = 1;
    RETURN 1;
END
GO

-- Schema information. The column of its names has the collation of the database, and so have the parameters.
IF OBJECT_ID(N'__ShardManagement.shardlet1_ListSchemaInfos', N'P') IS NULL
    EXEC (N'CREATE PROCEDURE __ShardManagement.shardlet1_ListSchemaInfos AS RETURN 0');
GO
ALTER PROCEDURE __ShardManagement.shardlet1_ListSchemaInfos
AS
BEGIN
    SET NOCOUNT ON;
    IF NOT EXISTS (SELECT 1 FROM __ShardManagement.ShardMapManagerGlobal WHERE StoreVersionMajor = 1)
    BEGIN
        SELECT StoreVersionMajor, StoreVersionMinor FROM __ShardManagement.ShardMapManagerGlobal;
        RETURN 51;
    END
    SELECT Name, CONVERT(nvarchar(max), SchemaInfo) AS SchemaInfo
    FROM __ShardManagement.ShardedDatabaseSchemaInfosGlobal;
    RETURN 1;
END
GO

IF OBJECT_ID(N'__ShardManagement.shardlet1_FindSchemaInfo', N'P') IS NULL
    EXEC (N'CREATE PROCEDURE __ShardManagement.shardlet1_FindSchemaInfo AS RETURN 0');
GO
ALTER PROCEDURE __ShardManagement.shardlet1_FindSchemaInfo
    @name nvarchar(128)
AS
BEGIN
    SET NOCOUNT ON;
    IF NOT EXISTS (SELECT 1 FROM __ShardManagement.ShardMapManagerGlobal WHERE StoreVersionMajor = 1)
    BEGIN
        SELECT StoreVersionMajor, StoreVersionMinor FROM __ShardManagement.ShardMapManagerGlobal;
        RETURN 51;
    END
    SELECT Name, CONVERT(nvarchar(max), SchemaInfo) AS SchemaInfo
    FROM __ShardManagement.ShardedDatabaseSchemaInfosGlobal WHERE Name = @name;
    RETURN 1;
END
GO

IF OBJECT_ID(N'__ShardManagement.shardlet1_AddSchemaInfo', N'P') IS NULL
    EXEC (N'CREATE PROCEDURE __ShardManagement.shardlet1_AddSchemaInfo AS RETURN 0');
GO
ALTER PROCEDURE __ShardManagement.shardlet1_AddSchemaInfo
    @name nvarchar(128), @document nvarchar(max)
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT ON;
    IF NOT EXISTS (SELECT 1 FROM __ShardManagement.ShardMapManagerGlobal WHERE StoreVersionMajor = 1)
    BEGIN
        SELECT StoreVersionMajor, StoreVersionMinor FROM __ShardManagement.ShardMapManagerGlobal;
        RETURN 51;
    END
    BEGIN TRANSACTION;
    UPDATE __ShardManagement.ShardMapManagerGlobal SET StoreVersionMinor = StoreVersionMinor;
    IF EXISTS (SELECT 1 FROM __ShardManagement.ShardedDatabaseSchemaInfosGlobal WHERE Name = @name)
    BEGIN
        ROLLBACK TRANSACTION;
        RETURN 402;
    END
    BEGIN TRY
        INSERT INTO __ShardManagement.ShardedDatabaseSchemaInfosGlobal (Name, SchemaInfo)
        VALUES (@name, CONVERT(xml, @document));
    END TRY
    BEGIN CATCH
        -- As in AddShardMap.
        DECLARE @error int;
        SET @error = ERROR_NUMBER();
        IF @@TRANCOUNT > 0 ROLLBACK TRANSACTION;
        IF @error IN (2601, 2627) RETURN 402;
        THROW;
    END CATCH
    COMMIT TRANSACTION;
    RETURN 1;
END
GO

IF OBJECT_ID(N'__ShardManagement.shardlet1_UpdateSchemaInfo', N'P') IS NULL
    EXEC (N'CREATE PROCEDURE __ShardManagement.shardlet1_UpdateSchemaInfo AS RETURN 0');
GO
ALTER PROCEDURE __ShardManagement.shardlet1_UpdateSchemaInfo
    @name nvarchar(128), @document nvarchar(max)
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT ON;
    IF NOT EXISTS (SELECT 1 FROM __ShardManagement.ShardMapManagerGlobal WHERE StoreVersionMajor = 1)
    BEGIN
        SELECT StoreVersionMajor, StoreVersionMinor FROM __ShardManagement.ShardMapManagerGlobal;
        RETURN 51;
    END
    UPDATE __ShardManagement.ShardedDatabaseSchemaInfosGlobal SET SchemaInfo = CONVERT(xml, @document)
    WHERE Name = @name;
    IF @@ROWCOUNT = 0 RETURN 401;
    RETURN 1;
END
GO

IF OBJECT_ID(N'__ShardManagement.shardlet1_RemoveSchemaInfo', N'P') IS NULL
    EXEC (N'CREATE PROCEDURE __ShardManagement.shardlet1_RemoveSchemaInfo AS RETURN 0');
GO
ALTER PROCEDURE __ShardManagement.shardlet1_RemoveSchemaInfo
    @name nvarchar(128)
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT ON;
    IF NOT EXISTS (SELECT 1 FROM __ShardManagement.ShardMapManagerGlobal WHERE StoreVersionMajor = 1)
    BEGIN
        SELECT StoreVersionMajor, StoreVersionMinor FROM __ShardManagement.ShardMapManagerGlobal;
        RETURN 51;
    END
    DELETE FROM __ShardManagement.ShardedDatabaseSchemaInfosGlobal WHERE Name = @name;
    IF @@ROWCOUNT = 0 RETURN 401;
    RETURN 1;
END
GO

COMMIT TRANSACTION;
GO
