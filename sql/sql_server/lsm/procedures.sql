-- The procedures of a shard's local store: every request of this library to it. Their names, result codes and rules are as
-- described in the procedures of the global store. Who changes a shard's own rows writes the version row first, and who
-- changes mappings the shard's row: that, not a hint, puts changes in order.

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

IF OBJECT_ID(N'__ShardManagement.shardlet1_ListLocalShards', N'P') IS NULL
    EXEC (N'CREATE PROCEDURE __ShardManagement.shardlet1_ListLocalShards AS RETURN 0');
GO
ALTER PROCEDURE __ShardManagement.shardlet1_ListLocalShards
AS
BEGIN
    SET NOCOUNT ON;
    IF NOT EXISTS (SELECT 1 FROM __ShardManagement.ShardMapManagerLocal WHERE StoreVersionMajor = 1)
    BEGIN
        SELECT StoreVersionMajor, StoreVersionMinor FROM __ShardManagement.ShardMapManagerLocal;
        RETURN 51;
    END
    SELECT m.ShardMapId, m.Name, m.MapType, m.KeyType, s.ShardId, s.Version, s.ShardMapId, s.Protocol, s.ServerName, s.Port,
        s.DatabaseName, s.Status
    FROM __ShardManagement.ShardsLocal AS s
    JOIN __ShardManagement.ShardMapsLocal AS m ON m.ShardMapId = s.ShardMapId;
    RETURN 1;
END
GO

-- Two results: what ListLocalShards says of the map, and its mappings.
IF OBJECT_ID(N'__ShardManagement.shardlet1_ListLocalMappings', N'P') IS NULL
    EXEC (N'CREATE PROCEDURE __ShardManagement.shardlet1_ListLocalMappings AS RETURN 0');
GO
ALTER PROCEDURE __ShardManagement.shardlet1_ListLocalMappings
    @map uniqueidentifier
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT ON;
    IF NOT EXISTS (SELECT 1 FROM __ShardManagement.ShardMapManagerLocal WHERE StoreVersionMajor = 1)
    BEGIN
        SELECT StoreVersionMajor, StoreVersionMinor FROM __ShardManagement.ShardMapManagerLocal;
        RETURN 51;
    END
    BEGIN TRANSACTION;
    SELECT m.ShardMapId, m.Name, m.MapType, m.KeyType, s.ShardId, s.Version, s.ShardMapId, s.Protocol, s.ServerName, s.Port,
        s.DatabaseName, s.Status
    FROM __ShardManagement.ShardsLocal AS s WITH (HOLDLOCK)
    JOIN __ShardManagement.ShardMapsLocal AS m ON m.ShardMapId = s.ShardMapId
    WHERE m.ShardMapId = @map;
    SELECT MappingId, ShardId, MinValue, MaxValue, Status FROM __ShardManagement.ShardMappingsLocal
    WHERE ShardMapId = @map ORDER BY MinValue;
    COMMIT TRANSACTION;
    RETURN 1;
END
GO

-- Rows that are there are left alone. Refused with 205 where another shard of the map is at the location, unless @undoing.
IF OBJECT_ID(N'__ShardManagement.shardlet1_AddLocalShard', N'P') IS NULL
    EXEC (N'CREATE PROCEDURE __ShardManagement.shardlet1_AddLocalShard AS RETURN 0');
GO
ALTER PROCEDURE __ShardManagement.shardlet1_AddLocalShard
    @operation uniqueidentifier, @undoing bit, @map uniqueidentifier, @name nvarchar(50), @kind int, @keyType int,
    @shard uniqueidentifier, @version uniqueidentifier, @protocol int, @server nvarchar(128), @port int,
    @database nvarchar(128), @status int
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT ON;
    IF NOT EXISTS (SELECT 1 FROM __ShardManagement.ShardMapManagerLocal WHERE StoreVersionMajor = 1)
    BEGIN
        SELECT StoreVersionMajor, StoreVersionMinor FROM __ShardManagement.ShardMapManagerLocal;
        RETURN 51;
    END
    BEGIN TRANSACTION;
    UPDATE __ShardManagement.ShardMapManagerLocal SET StoreVersionMinor = StoreVersionMinor;
    IF EXISTS (SELECT 1 FROM __ShardManagement.ShardsLocal WHERE ShardMapId = @map AND Protocol = @protocol
        AND ServerName = @server AND Port = @port AND DatabaseName = @database AND ShardId <> @shard)
    BEGIN
        ROLLBACK TRANSACTION;
        IF @undoing = 1 RETURN 1;
        RETURN 205;
    END
    IF NOT EXISTS (SELECT 1 FROM __ShardManagement.ShardMapsLocal WHERE ShardMapId = @map)
        INSERT INTO __ShardManagement.ShardMapsLocal (ShardMapId, Name, MapType, KeyType, LastOperationId)
        VALUES (@map, @name, @kind, @keyType, @operation);
    IF NOT EXISTS (SELECT 1 FROM __ShardManagement.ShardsLocal WHERE ShardId = @shard)
        INSERT INTO __ShardManagement.ShardsLocal (ShardId, Version, ShardMapId, Protocol, ServerName, Port, DatabaseName,
            Status, LastOperationId)
        VALUES (@shard, @version, @map, @protocol, @server, @port, @database, @status, @operation);
    COMMIT TRANSACTION;
    RETURN 1;
END
GO

-- Where @before and @after are given, which an undo does, a shard's row of another version than these is left alone: it has a
-- history that the operation is not part of.
IF OBJECT_ID(N'__ShardManagement.shardlet1_RemoveLocalShard', N'P') IS NULL
    EXEC (N'CREATE PROCEDURE __ShardManagement.shardlet1_RemoveLocalShard AS RETURN 0');
GO
ALTER PROCEDURE __ShardManagement.shardlet1_RemoveLocalShard
    @map uniqueidentifier, @shard uniqueidentifier, @before uniqueidentifier, @after uniqueidentifier
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT ON;
    IF NOT EXISTS (SELECT 1 FROM __ShardManagement.ShardMapManagerLocal WHERE StoreVersionMajor = 1)
    BEGIN
        SELECT StoreVersionMajor, StoreVersionMinor FROM __ShardManagement.ShardMapManagerLocal;
        RETURN 51;
    END
    BEGIN TRANSACTION;
    UPDATE __ShardManagement.ShardMapManagerLocal SET StoreVersionMinor = StoreVersionMinor;
    DELETE FROM __ShardManagement.ShardsLocal
    WHERE ShardMapId = @map AND ShardId = @shard AND (@before IS NULL OR Version IN (@before, @after));
    DELETE FROM __ShardManagement.ShardMapsLocal WHERE ShardMapId = @map
        AND NOT EXISTS (SELECT 1 FROM __ShardManagement.ShardsLocal WHERE ShardMapId = @map);
    COMMIT TRANSACTION;
    RETURN 1;
END
GO

IF OBJECT_ID(N'__ShardManagement.shardlet1_UpdateLocalShard', N'P') IS NULL
    EXEC (N'CREATE PROCEDURE __ShardManagement.shardlet1_UpdateLocalShard AS RETURN 0');
GO
ALTER PROCEDURE __ShardManagement.shardlet1_UpdateLocalShard
    @operation uniqueidentifier, @map uniqueidentifier, @shard uniqueidentifier, @version uniqueidentifier,
    @protocol int, @server nvarchar(128), @port int, @database nvarchar(128), @status int, @before uniqueidentifier,
    @after uniqueidentifier
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT ON;
    IF NOT EXISTS (SELECT 1 FROM __ShardManagement.ShardMapManagerLocal WHERE StoreVersionMajor = 1)
    BEGIN
        SELECT StoreVersionMajor, StoreVersionMinor FROM __ShardManagement.ShardMapManagerLocal;
        RETURN 51;
    END
    BEGIN TRANSACTION;
    UPDATE __ShardManagement.ShardMapManagerLocal SET StoreVersionMinor = StoreVersionMinor;
    UPDATE __ShardManagement.ShardsLocal
    SET Version = @version, Status = @status, Protocol = @protocol, ServerName = @server, Port = @port,
        DatabaseName = @database, LastOperationId = @operation
    WHERE ShardMapId = @map AND ShardId = @shard AND (@before IS NULL OR Version IN (@before, @after));
    IF @@ROWCOUNT = 0
    BEGIN
        ROLLBACK TRANSACTION;
        RETURN 202;
    END
    COMMIT TRANSACTION;
    RETURN 1;
END
GO

-- @steps is an array of { kind, id, status, min, max }: kind 1 removes, 3 adds; what goes, goes first. @adding says that all of
-- them add. Where the operation has done it before, nothing is changed.
IF OBJECT_ID(N'__ShardManagement.shardlet1_ChangeLocalMappings', N'P') IS NULL
    EXEC (N'CREATE PROCEDURE __ShardManagement.shardlet1_ChangeLocalMappings AS RETURN 0');
GO
ALTER PROCEDURE __ShardManagement.shardlet1_ChangeLocalMappings
    @operation uniqueidentifier, @undoing bit, @map uniqueidentifier, @shard uniqueidentifier,
    @version uniqueidentifier, @before uniqueidentifier, @after uniqueidentifier, @steps nvarchar(max), @adding bit = 0
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT ON;
    IF NOT EXISTS (SELECT 1 FROM __ShardManagement.ShardMapManagerLocal WHERE StoreVersionMajor = 1)
    BEGIN
        SELECT StoreVersionMajor, StoreVersionMinor FROM __ShardManagement.ShardMapManagerLocal;
        RETURN 51;
    END
    BEGIN TRANSACTION;
    UPDATE __ShardManagement.ShardsLocal SET Version = @version, LastOperationId = @operation
    WHERE ShardMapId = @map AND ShardId = @shard AND NOT (Version = @version AND LastOperationId = @operation)
        AND (@before IS NULL OR Version IN (@before, @after));
    IF @@ROWCOUNT = 0
    BEGIN
        ROLLBACK TRANSACTION;
        IF @undoing = 0
            AND NOT EXISTS (SELECT 1 FROM __ShardManagement.ShardsLocal WHERE ShardMapId = @map AND ShardId = @shard)
            RETURN 202;
        RETURN 1;
    END
    IF @adding = 0
        DELETE m
        FROM __ShardManagement.ShardMappingsLocal AS m
        JOIN OPENJSON(@steps) WITH (Kind int '$.kind', Id uniqueidentifier '$.id') AS s ON s.Id = m.MappingId
        WHERE m.ShardMapId = @map AND s.Kind = 1;
    INSERT INTO __ShardManagement.ShardMappingsLocal (MappingId, ShardId, ShardMapId, MinValue, MaxValue, Status,
        LastOperationId)
    SELECT s.Id, @shard, @map, CONVERT(varbinary(128), s.Low, 1), CONVERT(varbinary(128), s.High, 1), s.Status,
        @operation
    FROM OPENJSON(@steps) WITH (Kind int '$.kind', Id uniqueidentifier '$.id', Status int '$.status',
        Low varchar(260) '$.min', High varchar(260) '$.max') AS s
    WHERE s.Kind = 3 AND (@undoing = 0 OR NOT EXISTS (
        SELECT 1 FROM __ShardManagement.ShardMappingsLocal AS m
        WHERE m.MappingId = s.Id OR (m.ShardMapId = @map AND m.MinValue = CONVERT(varbinary(128), s.Low, 1))));
    COMMIT TRANSACTION;
    RETURN 1;
END
GO

-- Makes what the store holds of a map exactly this: the shard's row, its mappings, and the rows of @neighbours, an array of
-- ids. @mappings is an array of { id, status, min, max }. Where the operation has done it before, nothing is changed. Refused
-- with 204 where @expected is given and the shard's row has another version or is not there, with 205 where a neighbour has the
-- location.
IF OBJECT_ID(N'__ShardManagement.shardlet1_ReplaceLocalShard', N'P') IS NULL
    EXEC (N'CREATE PROCEDURE __ShardManagement.shardlet1_ReplaceLocalShard AS RETURN 0');
GO
ALTER PROCEDURE __ShardManagement.shardlet1_ReplaceLocalShard
    @operation uniqueidentifier, @map uniqueidentifier, @name nvarchar(50), @kind int, @keyType int,
    @shard uniqueidentifier, @version uniqueidentifier, @protocol int, @server nvarchar(128), @port int,
    @database nvarchar(128), @status int, @expected uniqueidentifier, @neighbours nvarchar(max), @mappings nvarchar(max)
AS
BEGIN
    SET NOCOUNT ON;
    SET XACT_ABORT ON;
    DECLARE @found uniqueidentifier, @last uniqueidentifier;
    IF NOT EXISTS (SELECT 1 FROM __ShardManagement.ShardMapManagerLocal WHERE StoreVersionMajor = 1)
    BEGIN
        SELECT StoreVersionMajor, StoreVersionMinor FROM __ShardManagement.ShardMapManagerLocal;
        RETURN 51;
    END
    BEGIN TRANSACTION;
    UPDATE __ShardManagement.ShardMapManagerLocal SET StoreVersionMinor = StoreVersionMinor;
    -- Written, so that nobody changes it before the end.
    UPDATE __ShardManagement.ShardsLocal SET Status = Status WHERE ShardMapId = @map AND ShardId = @shard;
    SELECT @found = Version, @last = LastOperationId FROM __ShardManagement.ShardsLocal
    WHERE ShardMapId = @map AND ShardId = @shard;
    IF @found = @version AND @last = @operation
    BEGIN
        ROLLBACK TRANSACTION;
        RETURN 1;
    END
    IF @expected IS NOT NULL AND (@found IS NULL OR @found <> @expected)
    BEGIN
        ROLLBACK TRANSACTION;
        RETURN 204;
    END
    DELETE m
    FROM __ShardManagement.ShardMappingsLocal AS m
    LEFT JOIN OPENJSON(@neighbours) WITH (Id uniqueidentifier '$') AS n ON n.Id = m.ShardId
    WHERE m.ShardMapId = @map AND n.Id IS NULL;
    DELETE s
    FROM __ShardManagement.ShardsLocal AS s
    LEFT JOIN OPENJSON(@neighbours) WITH (Id uniqueidentifier '$') AS n ON n.Id = s.ShardId
    WHERE s.ShardMapId = @map AND n.Id IS NULL;
    IF EXISTS (SELECT 1 FROM __ShardManagement.ShardsLocal WHERE ShardMapId = @map AND Protocol = @protocol
        AND ServerName = @server AND Port = @port AND DatabaseName = @database)
    BEGIN
        ROLLBACK TRANSACTION;
        RETURN 205;
    END
    UPDATE __ShardManagement.ShardMapsLocal SET Name = @name, MapType = @kind, KeyType = @keyType WHERE ShardMapId = @map;
    IF @@ROWCOUNT = 0
        INSERT INTO __ShardManagement.ShardMapsLocal (ShardMapId, Name, MapType, KeyType, LastOperationId)
        VALUES (@map, @name, @kind, @keyType, @operation);
    INSERT INTO __ShardManagement.ShardsLocal (ShardId, Version, ShardMapId, Protocol, ServerName, Port, DatabaseName,
        Status, LastOperationId)
    VALUES (@shard, @version, @map, @protocol, @server, @port, @database, @status, @operation);
    INSERT INTO __ShardManagement.ShardMappingsLocal (MappingId, ShardId, ShardMapId, MinValue, MaxValue, Status,
        LastOperationId)
    SELECT s.Id, @shard, @map, CONVERT(varbinary(128), s.Low, 1), CONVERT(varbinary(128), s.High, 1), s.Status, @operation
    FROM OPENJSON(@mappings) WITH (Id uniqueidentifier '$.id', Status int '$.status', Low varchar(260) '$.min',
        High varchar(260) '$.max') AS s;
    COMMIT TRANSACTION;
    RETURN 1;
END
GO

-- The stamp comes first: a change that takes the mapping offline is either seen by what follows, or sees the stamp.
IF OBJECT_ID(N'__ShardManagement.shardlet1_ValidateMapping', N'P') IS NULL
    EXEC (N'CREATE PROCEDURE __ShardManagement.shardlet1_ValidateMapping AS RETURN 0');
GO
ALTER PROCEDURE __ShardManagement.shardlet1_ValidateMapping
    @map uniqueidentifier, @mapping uniqueidentifier, @stamp varbinary(128)
AS
BEGIN
    SET NOCOUNT ON;
    DECLARE @major int, @status int;
    SET CONTEXT_INFO @stamp;
    SELECT @major = StoreVersionMajor FROM __ShardManagement.ShardMapManagerLocal;
    SELECT @status = Status FROM __ShardManagement.ShardMappingsLocal WHERE ShardMapId = @map AND MappingId = @mapping;
    IF @major = 1 AND @status = 1 RETURN 1;
    IF NOT EXISTS (SELECT 1 FROM __ShardManagement.ShardMapManagerLocal WHERE StoreVersionMajor = 1)
    BEGIN
        SELECT StoreVersionMajor, StoreVersionMinor FROM __ShardManagement.ShardMapManagerLocal;
        RETURN 51;
    END
    IF @status IS NOT NULL RETURN 309;
    IF EXISTS (SELECT 1 FROM __ShardManagement.ShardMapsLocal WHERE ShardMapId = @map) RETURN 301;
    RETURN 102;
END
GO

-- A session that was routed by no mapping carries no stamp, also not that of the connection's last user.
IF OBJECT_ID(N'__ShardManagement.shardlet1_ValidateShard', N'P') IS NULL
    EXEC (N'CREATE PROCEDURE __ShardManagement.shardlet1_ValidateShard AS RETURN 0');
GO
ALTER PROCEDURE __ShardManagement.shardlet1_ValidateShard
    @map uniqueidentifier, @shard uniqueidentifier, @version uniqueidentifier
AS
BEGIN
    SET NOCOUNT ON;
    DECLARE @found uniqueidentifier, @none varbinary(128);
    SET @none = 0x;
    SET CONTEXT_INFO @none;
    IF NOT EXISTS (SELECT 1 FROM __ShardManagement.ShardMapManagerLocal WHERE StoreVersionMajor = 1)
    BEGIN
        SELECT StoreVersionMajor, StoreVersionMinor FROM __ShardManagement.ShardMapManagerLocal;
        RETURN 51;
    END
    SELECT @found = Version FROM __ShardManagement.ShardsLocal WHERE ShardMapId = @map AND ShardId = @shard;
    IF @found = @version RETURN 1;
    IF @found IS NOT NULL RETURN 204;
    IF EXISTS (SELECT 1 FROM __ShardManagement.ShardMapsLocal WHERE ShardMapId = @map) RETURN 202;
    RETURN 102;
END
GO

-- The sessions that carry a stamp of the map, wherever a USE has led them, and those of this database whose program name has the
-- given ending (none where that is empty). A session's stamp shows in dm_exec_sessions when its batch has ended, and in dm_exec_requests at once; where the
-- latter is missing, every session that is at work is listed, so that the client can wait for it; one that only waits for its
-- client is not at work, even if its status says so, as after a reset. Refused with 305 where the login may not see the
-- sessions of others.
IF OBJECT_ID(N'__ShardManagement.shardlet1_ListSessions', N'P') IS NULL
    EXEC (N'CREATE PROCEDURE __ShardManagement.shardlet1_ListSessions AS RETURN 0');
GO
ALTER PROCEDURE __ShardManagement.shardlet1_ListSessions
    @prefix varbinary(20), @program nvarchar(128)
AS
BEGIN
    SET NOCOUNT ON;
    DECLARE @everything bit;
    IF COALESCE(HAS_PERMS_BY_NAME(NULL, NULL, 'VIEW SERVER STATE'), 0) <> 1
        AND NOT (SERVERPROPERTY('EngineEdition') = 5
            AND COALESCE(HAS_PERMS_BY_NAME(DB_NAME(), 'DATABASE', 'VIEW DATABASE STATE'), 0) = 1)
        RETURN 305;
    IF SERVERPROPERTY('babelfish') IS NULL
        EXEC sp_executesql N'
            SELECT CONVERT(int, r.session_id), CONVERT(nvarchar(40), s.login_time, 126), r.context_info, 0,
                CONVERT(nvarchar(40), r.start_time, 126)
            FROM sys.dm_exec_requests AS r
            JOIN sys.dm_exec_sessions AS s ON s.session_id = r.session_id
            WHERE r.session_id <> @@SPID AND SUBSTRING(r.context_info, 1, 20) = @prefix',
            N'@prefix varbinary(20)', @prefix = @prefix;
    SELECT CONVERT(int, session_id), CONVERT(nvarchar(40), login_time, 126), context_info,
        CASE WHEN SUBSTRING(context_info, 1, 20) = @prefix THEN 0
            WHEN @program <> N'' AND RIGHT(program_name, LEN(@program)) = @program THEN 1
            ELSE 2 END,
        CONVERT(nvarchar(40), last_request_start_time, 126)
    FROM sys.dm_exec_sessions
    WHERE session_id <> @@SPID AND is_user_process = 1
        AND (SUBSTRING(context_info, 1, 20) = @prefix
            OR (database_id = DB_ID() AND @program <> N'' AND RIGHT(program_name, LEN(@program)) = @program)
            OR (database_id = DB_ID() AND SERVERPROPERTY('babelfish') IS NOT NULL AND status = 'active'
                AND NOT EXISTS (
                    SELECT 1 FROM sys.sysprocesses AS p
                    WHERE p.spid = session_id AND RTRIM(p.lastwaittype) = N'Client')));
    RETURN 1;
END
GO

-- @sessions is an array of { id, login, stamp }. One that is gone, whose number serves another login by now, or that was given
-- to a user of another mapping since it was listed, is passed over. Answers with the numbers of the sessions killed, separated by
-- blanks, and with the number of the last error, 0 for none. (No table variable: with one, Babelfish loses its way to the tables
-- that later statements of the session need for foreign keys.)
IF OBJECT_ID(N'__ShardManagement.shardlet1_KillSessions', N'P') IS NULL
    EXEC (N'CREATE PROCEDURE __ShardManagement.shardlet1_KillSessions AS RETURN 0');
GO
ALTER PROCEDURE __ShardManagement.shardlet1_KillSessions
    @sessions nvarchar(max)
AS
BEGIN
    SET NOCOUNT ON;
    DECLARE @id int, @next int, @error int, @kill nvarchar(30), @killed nvarchar(max);
    SET @killed = N'';
    SET @id = 0;
    SET @error = 0;
    WHILE 1 = 1
    BEGIN
        SET @next = NULL;
        SELECT @next = MIN(Id) FROM OPENJSON(@sessions) WITH (Id int '$.id') WHERE Id > @id;
        IF @next IS NULL BREAK;
        SET @id = @next;
        IF EXISTS (
            SELECT 1 FROM sys.dm_exec_sessions AS s
            JOIN OPENJSON(@sessions) WITH (Id int '$.id', Login nvarchar(40) '$.login', Stamp varchar(260) '$.stamp') AS j
                ON j.Id = s.session_id
            WHERE s.session_id = @id AND CONVERT(nvarchar(40), s.login_time, 126) = j.Login
                AND COALESCE(s.context_info, 0x) = CONVERT(varbinary(128), j.Stamp, 1))
        BEGIN
            SET @kill = N'KILL ' + CONVERT(nvarchar(11), @id);
            BEGIN TRY
                EXEC (@kill);
                SET @killed = @killed + CONVERT(nvarchar(11), @id) + N' ';
            END TRY
            BEGIN CATCH
                -- 6106: the session has ended by itself.
                IF ERROR_NUMBER() <> 6106 SET @error = ERROR_NUMBER();
            END CATCH
        END
    END
    SELECT @killed AS SessionIds, @error AS ErrorNumber;
    RETURN 1;
END
GO

COMMIT TRANSACTION;
GO
