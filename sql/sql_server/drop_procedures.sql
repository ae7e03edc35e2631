-- Drops the procedures that this library has added to the current database and, with all that is in it, its table of the
-- descriptions of shards, and nothing else: its indexes stay, and go with the reference library's tables that they are on. The
-- reference library needs that before it can drop or replace a store, because it drops the schema. A client of ours
-- that misses procedures installs them again, and the table, without the descriptions.

IF OBJECT_ID(N'__ShardManagement.shardlet1_ListShardMaps', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.shardlet1_ListShardMaps;
GO
IF OBJECT_ID(N'__ShardManagement.shardlet1_FindShardMap', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.shardlet1_FindShardMap;
GO
IF OBJECT_ID(N'__ShardManagement.shardlet1_AddShardMap', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.shardlet1_AddShardMap;
GO
IF OBJECT_ID(N'__ShardManagement.shardlet1_RemoveShardMap', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.shardlet1_RemoveShardMap;
GO
IF OBJECT_ID(N'__ShardManagement.shardlet1_ListShards', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.shardlet1_ListShards;
GO
IF OBJECT_ID(N'__ShardManagement.shardlet1_FindShard', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.shardlet1_FindShard;
GO
IF OBJECT_ID(N'__ShardManagement.shardlet1_ListShardLocations', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.shardlet1_ListShardLocations;
GO
IF OBJECT_ID(N'__ShardManagement.shardlet1_ListMappings', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.shardlet1_ListMappings;
GO
IF OBJECT_ID(N'__ShardManagement.shardlet1_FindMappingByKey', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.shardlet1_FindMappingByKey;
GO
IF OBJECT_ID(N'__ShardManagement.shardlet1_FindMappingById', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.shardlet1_FindMappingById;
GO
IF OBJECT_ID(N'__ShardManagement.shardlet1_LoadAll', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.shardlet1_LoadAll;
GO
IF OBJECT_ID(N'__ShardManagement.shardlet1_ChangeLock', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.shardlet1_ChangeLock;
GO
IF OBJECT_ID(N'__ShardManagement.shardlet1_ListOperations', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.shardlet1_ListOperations;
GO
IF OBJECT_ID(N'__ShardManagement.shardlet1_FindOperation', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.shardlet1_FindOperation;
GO
IF OBJECT_ID(N'__ShardManagement.shardlet1_BeginShard', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.shardlet1_BeginShard;
GO
IF OBJECT_ID(N'__ShardManagement.shardlet1_EndShard', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.shardlet1_EndShard;
GO
IF OBJECT_ID(N'__ShardManagement.shardlet1_BeginMappings', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.shardlet1_BeginMappings;
GO
IF OBJECT_ID(N'__ShardManagement.shardlet1_EndMappings', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.shardlet1_EndMappings;
GO
IF OBJECT_ID(N'__ShardManagement.shardlet1_EndMending', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.shardlet1_EndMending;
GO
IF OBJECT_ID(N'__ShardManagement.shardlet1_DetachShard', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.shardlet1_DetachShard;
GO
IF OBJECT_ID(N'__ShardManagement.shardlet1_DescribeShard', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.shardlet1_DescribeShard;
GO
IF OBJECT_ID(N'__ShardManagement.shardlet1_ListShardDescriptions', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.shardlet1_ListShardDescriptions;
GO
-- After the two procedures that need it: whoever misses these makes it again, and whoever finds them finds it.
IF OBJECT_ID(N'__ShardManagement.ShardDescriptionsGlobal', N'U') IS NOT NULL
    DROP TABLE __ShardManagement.ShardDescriptionsGlobal;
GO
IF OBJECT_ID(N'__ShardManagement.shardlet1_ListSchemaInfos', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.shardlet1_ListSchemaInfos;
GO
IF OBJECT_ID(N'__ShardManagement.shardlet1_FindSchemaInfo', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.shardlet1_FindSchemaInfo;
GO
IF OBJECT_ID(N'__ShardManagement.shardlet1_AddSchemaInfo', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.shardlet1_AddSchemaInfo;
GO
IF OBJECT_ID(N'__ShardManagement.shardlet1_UpdateSchemaInfo', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.shardlet1_UpdateSchemaInfo;
GO
IF OBJECT_ID(N'__ShardManagement.shardlet1_RemoveSchemaInfo', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.shardlet1_RemoveSchemaInfo;
GO
IF OBJECT_ID(N'__ShardManagement.shardlet1_ListLocalShards', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.shardlet1_ListLocalShards;
GO
IF OBJECT_ID(N'__ShardManagement.shardlet1_ListLocalMappings', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.shardlet1_ListLocalMappings;
GO
IF OBJECT_ID(N'__ShardManagement.shardlet1_AddLocalShard', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.shardlet1_AddLocalShard;
GO
IF OBJECT_ID(N'__ShardManagement.shardlet1_RemoveLocalShard', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.shardlet1_RemoveLocalShard;
GO
IF OBJECT_ID(N'__ShardManagement.shardlet1_UpdateLocalShard', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.shardlet1_UpdateLocalShard;
GO
IF OBJECT_ID(N'__ShardManagement.shardlet1_ChangeLocalMappings', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.shardlet1_ChangeLocalMappings;
GO
IF OBJECT_ID(N'__ShardManagement.shardlet1_ReplaceLocalShard', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.shardlet1_ReplaceLocalShard;
GO
IF OBJECT_ID(N'__ShardManagement.shardlet1_ValidateMapping', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.shardlet1_ValidateMapping;
GO
IF OBJECT_ID(N'__ShardManagement.shardlet1_ValidateShard', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.shardlet1_ValidateShard;
GO
IF OBJECT_ID(N'__ShardManagement.shardlet1_ListSessions', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.shardlet1_ListSessions;
GO
IF OBJECT_ID(N'__ShardManagement.shardlet1_KillSessions', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.shardlet1_KillSessions;
GO
