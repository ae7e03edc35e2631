-- What the login may do at a store: one row of four numbers, 1 or 0 (reads, changes, installs, ends sessions), and nothing is
-- changed. @P1 is the store, 0 the global one and 1 that of a shard, and need not be there: what is missing counts as what the
-- login could use once it had installed it. The procedures are those that permissions.sql grants.

DECLARE @schema nvarchar(128) = N'__ShardManagement', @database nvarchar(258) = QUOTENAME(DB_NAME());
DECLARE @edition int = CONVERT(int, SERVERPROPERTY('EngineEdition'));
DECLARE @babelfish int = CASE WHEN SERVERPROPERTY('babelfish') IS NULL THEN 0 ELSE 1 END;
-- Who makes the schema owns it, and may do everything in it.
DECLARE @owns int = CASE WHEN SCHEMA_ID(@schema) IS NULL THEN 1 ELSE 0 END;
-- A key that refers to another table takes REFERENCES, the version's row INSERT, and an upgrade of it UPDATE.
DECLARE @installs int = CASE
    WHEN HAS_PERMS_BY_NAME(@database, N'DATABASE', N'CREATE TABLE') = 1
        AND HAS_PERMS_BY_NAME(@database, N'DATABASE', N'CREATE PROCEDURE') = 1
        AND (@owns = 0 OR HAS_PERMS_BY_NAME(@database, N'DATABASE', N'CREATE SCHEMA') = 1)
        AND (@owns = 1 OR HAS_PERMS_BY_NAME(@schema, N'SCHEMA', N'ALTER') = 1)
        AND (@owns = 1 OR HAS_PERMS_BY_NAME(@schema, N'SCHEMA', N'REFERENCES') = 1)
        AND (@owns = 1 OR HAS_PERMS_BY_NAME(@schema, N'SCHEMA', N'SELECT') = 1)
        AND (@owns = 1 OR HAS_PERMS_BY_NAME(@schema, N'SCHEMA', N'INSERT') = 1)
        AND (@owns = 1 OR HAS_PERMS_BY_NAME(@schema, N'SCHEMA', N'UPDATE') = 1)
    THEN 1 ELSE 0 END;
-- Babelfish has other rights for KILL than it tells. 5 and 12 are Azure SQL Database and that of Fabric. From 2022 on the narrower
-- right is enough; before, it is not known, which is no.
DECLARE @ends int = CASE
    WHEN @babelfish = 1 THEN IS_SRVROLEMEMBER(N'sysadmin')
    WHEN @edition IN (5, 12) THEN CASE
        WHEN HAS_PERMS_BY_NAME(@database, N'DATABASE', N'KILL DATABASE CONNECTION') = 1
            AND (HAS_PERMS_BY_NAME(@database, N'DATABASE', N'VIEW DATABASE STATE') = 1
                OR HAS_PERMS_BY_NAME(@database, N'DATABASE', N'VIEW DATABASE PERFORMANCE STATE') = 1)
        THEN 1 ELSE 0 END
    WHEN HAS_PERMS_BY_NAME(NULL, NULL, N'ALTER ANY CONNECTION') = 1
        AND (HAS_PERMS_BY_NAME(NULL, NULL, N'VIEW SERVER STATE') = 1
            OR HAS_PERMS_BY_NAME(NULL, NULL, N'VIEW SERVER PERFORMANCE STATE') = 1)
    THEN 1 ELSE 0 END;

SELECT MIN(CASE WHEN needed.purpose = 0 THEN needed.allowed ELSE 1 END) AS reads,
    MIN(CASE WHEN needed.purpose IN (0, 1) THEN needed.allowed ELSE 1 END) AS changes,
    @installs AS installs,
    MIN(CASE WHEN needed.purpose = 2 THEN needed.allowed ELSE COALESCE(@ends, 0) END) AS ends_sessions
FROM (
    SELECT listed.purpose, CASE
        WHEN HAS_PERMS_BY_NAME(@schema + N'.' + listed.name, N'OBJECT', listed.permission) = 1 THEN 1
        WHEN @installs = 1 AND OBJECT_ID(@schema + N'.' + listed.name) IS NULL
            AND (@owns = 1 OR HAS_PERMS_BY_NAME(@schema, N'SCHEMA', listed.permission) = 1) THEN 1
        ELSE 0 END AS allowed
    -- Descriptions and schema information are not what routing reads: they count as changes, also where they are only read.
    -- The store; 0 to read, 1 to change, 2 to end sessions; 1 where procedures and tables are no chain of ownership.
    FROM (VALUES
        (0, 0, 0, N'ShardMapManagerGlobal', N'SELECT'),
        (0, 0, 0, N'shardlet1_ListShardMaps', N'EXECUTE'),
        (0, 0, 0, N'shardlet1_FindShardMap', N'EXECUTE'),
        (0, 0, 0, N'shardlet1_ListShards', N'EXECUTE'),
        (0, 0, 0, N'shardlet1_FindShard', N'EXECUTE'),
        (0, 0, 0, N'shardlet1_ListShardLocations', N'EXECUTE'),
        (0, 0, 0, N'shardlet1_ListMappings', N'EXECUTE'),
        (0, 0, 0, N'shardlet1_FindMappingByKey', N'EXECUTE'),
        (0, 0, 0, N'shardlet1_FindMappingById', N'EXECUTE'),
        (0, 0, 0, N'shardlet1_LoadAll', N'EXECUTE'),
        (0, 1, 0, N'shardlet1_ListShardDescriptions', N'EXECUTE'),
        (0, 1, 0, N'shardlet1_ListSchemaInfos', N'EXECUTE'),
        (0, 1, 0, N'shardlet1_FindSchemaInfo', N'EXECUTE'),
        (0, 1, 0, N'shardlet1_AddShardMap', N'EXECUTE'),
        (0, 1, 0, N'shardlet1_RemoveShardMap', N'EXECUTE'),
        (0, 1, 0, N'shardlet1_ChangeLock', N'EXECUTE'),
        (0, 1, 0, N'shardlet1_ListOperations', N'EXECUTE'),
        (0, 1, 0, N'shardlet1_FindOperation', N'EXECUTE'),
        (0, 1, 0, N'shardlet1_BeginShard', N'EXECUTE'),
        (0, 1, 0, N'shardlet1_EndShard', N'EXECUTE'),
        (0, 1, 0, N'shardlet1_BeginMappings', N'EXECUTE'),
        (0, 1, 0, N'shardlet1_EndMappings', N'EXECUTE'),
        (0, 1, 0, N'shardlet1_EndMending', N'EXECUTE'),
        (0, 1, 0, N'shardlet1_DetachShard', N'EXECUTE'),
        (0, 1, 0, N'shardlet1_DescribeShard', N'EXECUTE'),
        (0, 1, 0, N'shardlet1_AddSchemaInfo', N'EXECUTE'),
        (0, 1, 0, N'shardlet1_UpdateSchemaInfo', N'EXECUTE'),
        (0, 1, 0, N'shardlet1_RemoveSchemaInfo', N'EXECUTE'),
        (0, 0, 1, N'ShardMapsGlobal', N'SELECT'),
        (0, 0, 1, N'ShardsGlobal', N'SELECT'),
        (0, 0, 1, N'ShardMappingsGlobal', N'SELECT'),
        (0, 1, 1, N'ShardedDatabaseSchemaInfosGlobal', N'SELECT'),
        (0, 1, 1, N'ShardDescriptionsGlobal', N'SELECT'),
        (0, 1, 1, N'ShardMapManagerGlobal', N'UPDATE'),
        (0, 1, 1, N'ShardMapsGlobal', N'INSERT'),
        (0, 1, 1, N'ShardMapsGlobal', N'UPDATE'),
        (0, 1, 1, N'ShardMapsGlobal', N'DELETE'),
        (0, 1, 1, N'ShardsGlobal', N'INSERT'),
        (0, 1, 1, N'ShardsGlobal', N'UPDATE'),
        (0, 1, 1, N'ShardsGlobal', N'DELETE'),
        (0, 1, 1, N'ShardMappingsGlobal', N'INSERT'),
        (0, 1, 1, N'ShardMappingsGlobal', N'UPDATE'),
        (0, 1, 1, N'ShardMappingsGlobal', N'DELETE'),
        (0, 1, 1, N'OperationsLogGlobal', N'SELECT'),
        (0, 1, 1, N'OperationsLogGlobal', N'INSERT'),
        (0, 1, 1, N'OperationsLogGlobal', N'UPDATE'),
        (0, 1, 1, N'OperationsLogGlobal', N'DELETE'),
        (0, 1, 1, N'ShardedDatabaseSchemaInfosGlobal', N'INSERT'),
        (0, 1, 1, N'ShardedDatabaseSchemaInfosGlobal', N'UPDATE'),
        (0, 1, 1, N'ShardedDatabaseSchemaInfosGlobal', N'DELETE'),
        (0, 1, 1, N'ShardDescriptionsGlobal', N'INSERT'),
        (0, 1, 1, N'ShardDescriptionsGlobal', N'UPDATE'),
        (0, 1, 1, N'ShardDescriptionsGlobal', N'DELETE'),
        (1, 0, 0, N'ShardMapManagerLocal', N'SELECT'),
        (1, 0, 0, N'shardlet1_ListLocalShards', N'EXECUTE'),
        (1, 0, 0, N'shardlet1_ListLocalMappings', N'EXECUTE'),
        (1, 1, 0, N'shardlet1_AddLocalShard', N'EXECUTE'),
        (1, 1, 0, N'shardlet1_RemoveLocalShard', N'EXECUTE'),
        (1, 1, 0, N'shardlet1_UpdateLocalShard', N'EXECUTE'),
        (1, 1, 0, N'shardlet1_ChangeLocalMappings', N'EXECUTE'),
        (1, 1, 0, N'shardlet1_ReplaceLocalShard', N'EXECUTE'),
        (1, 2, 0, N'shardlet1_ListSessions', N'EXECUTE'),
        (1, 2, 0, N'shardlet1_KillSessions', N'EXECUTE'),
        (1, 0, 1, N'ShardMapsLocal', N'SELECT'),
        (1, 0, 1, N'ShardsLocal', N'SELECT'),
        (1, 0, 1, N'ShardMappingsLocal', N'SELECT'),
        (1, 1, 1, N'ShardMapManagerLocal', N'UPDATE'),
        (1, 1, 1, N'ShardMapsLocal', N'INSERT'),
        (1, 1, 1, N'ShardMapsLocal', N'UPDATE'),
        (1, 1, 1, N'ShardMapsLocal', N'DELETE'),
        (1, 1, 1, N'ShardsLocal', N'INSERT'),
        (1, 1, 1, N'ShardsLocal', N'UPDATE'),
        (1, 1, 1, N'ShardsLocal', N'DELETE'),
        (1, 1, 1, N'ShardMappingsLocal', N'INSERT'),
        (1, 1, 1, N'ShardMappingsLocal', N'DELETE')
    ) AS listed (store, purpose, unchained, name, permission)
    WHERE listed.store = @P1 AND listed.unchained <= @babelfish
) AS needed;
