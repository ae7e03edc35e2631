-- Drops the global store with everything in it, in the caller's transaction: the tables, and the reference library's
-- procedures for them, which may be those of another store version. Our procedures stay; they fit what is installed next. So does
-- our own table, of the descriptions of shards, which they need and nobody else would make again: it is emptied. The schema stays
-- too, because the database may hold a local store.

-- Not DELETE: this takes the right that dropping the other tables does.
IF OBJECT_ID(N'__ShardManagement.ShardDescriptionsGlobal', N'U') IS NOT NULL
    TRUNCATE TABLE __ShardManagement.ShardDescriptionsGlobal;
GO
IF OBJECT_ID(N'__ShardManagement.ShardMappingsGlobal', N'U') IS NOT NULL DROP TABLE __ShardManagement.ShardMappingsGlobal;
GO
IF OBJECT_ID(N'__ShardManagement.ShardsGlobal', N'U') IS NOT NULL DROP TABLE __ShardManagement.ShardsGlobal;
GO
IF OBJECT_ID(N'__ShardManagement.ShardMapsGlobal', N'U') IS NOT NULL DROP TABLE __ShardManagement.ShardMapsGlobal;
GO
IF OBJECT_ID(N'__ShardManagement.OperationsLogGlobal', N'U') IS NOT NULL DROP TABLE __ShardManagement.OperationsLogGlobal;
GO
IF OBJECT_ID(N'__ShardManagement.ShardedDatabaseSchemaInfosGlobal', N'U') IS NOT NULL
    DROP TABLE __ShardManagement.ShardedDatabaseSchemaInfosGlobal;
GO
IF OBJECT_ID(N'__ShardManagement.ShardMapManagerGlobal', N'U') IS NOT NULL
    DROP TABLE __ShardManagement.ShardMapManagerGlobal;
GO
IF OBJECT_ID(N'__ShardManagement.spAddShardMapGlobal', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.spAddShardMapGlobal;
GO
IF OBJECT_ID(N'__ShardManagement.spAddShardingSchemaInfoGlobal', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.spAddShardingSchemaInfoGlobal;
GO
IF OBJECT_ID(N'__ShardManagement.spAttachShardGlobal', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.spAttachShardGlobal;
GO
IF OBJECT_ID(N'__ShardManagement.spBulkOperationShardMappingsGlobalBegin', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.spBulkOperationShardMappingsGlobalBegin;
GO
IF OBJECT_ID(N'__ShardManagement.spBulkOperationShardMappingsGlobalEnd', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.spBulkOperationShardMappingsGlobalEnd;
GO
IF OBJECT_ID(N'__ShardManagement.spBulkOperationShardsGlobalBegin', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.spBulkOperationShardsGlobalBegin;
GO
IF OBJECT_ID(N'__ShardManagement.spBulkOperationShardsGlobalEnd', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.spBulkOperationShardsGlobalEnd;
GO
IF OBJECT_ID(N'__ShardManagement.spDetachShardGlobal', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.spDetachShardGlobal;
GO
IF OBJECT_ID(N'__ShardManagement.spFindAndUpdateOperationLogEntryByIdGlobal', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.spFindAndUpdateOperationLogEntryByIdGlobal;
GO
IF OBJECT_ID(N'__ShardManagement.spFindShardByLocationGlobal', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.spFindShardByLocationGlobal;
GO
IF OBJECT_ID(N'__ShardManagement.spFindShardMapByNameGlobal', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.spFindShardMapByNameGlobal;
GO
IF OBJECT_ID(N'__ShardManagement.spFindShardMappingByIdGlobal', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.spFindShardMappingByIdGlobal;
GO
IF OBJECT_ID(N'__ShardManagement.spFindShardMappingByKeyGlobal', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.spFindShardMappingByKeyGlobal;
GO
IF OBJECT_ID(N'__ShardManagement.spFindShardingSchemaInfoByNameGlobal', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.spFindShardingSchemaInfoByNameGlobal;
GO
IF OBJECT_ID(N'__ShardManagement.spGetAllDistinctShardLocationsGlobal', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.spGetAllDistinctShardLocationsGlobal;
GO
IF OBJECT_ID(N'__ShardManagement.spGetAllShardMappingsGlobal', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.spGetAllShardMappingsGlobal;
GO
IF OBJECT_ID(N'__ShardManagement.spGetAllShardMapsGlobal', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.spGetAllShardMapsGlobal;
GO
IF OBJECT_ID(N'__ShardManagement.spGetAllShardingSchemaInfosGlobal', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.spGetAllShardingSchemaInfosGlobal;
GO
IF OBJECT_ID(N'__ShardManagement.spGetAllShardsGlobal', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.spGetAllShardsGlobal;
GO
IF OBJECT_ID(N'__ShardManagement.spGetOperationLogEntryGlobalHelper', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.spGetOperationLogEntryGlobalHelper;
GO
IF OBJECT_ID(N'__ShardManagement.spGetStoreVersionGlobalHelper', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.spGetStoreVersionGlobalHelper;
GO
IF OBJECT_ID(N'__ShardManagement.spLockOrUnlockShardMappingsGlobal', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.spLockOrUnlockShardMappingsGlobal;
GO
IF OBJECT_ID(N'__ShardManagement.spRemoveShardMapGlobal', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.spRemoveShardMapGlobal;
GO
IF OBJECT_ID(N'__ShardManagement.spRemoveShardingSchemaInfoGlobal', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.spRemoveShardingSchemaInfoGlobal;
GO
IF OBJECT_ID(N'__ShardManagement.spReplaceShardMappingsGlobal', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.spReplaceShardMappingsGlobal;
GO
IF OBJECT_ID(N'__ShardManagement.spUpdateShardingSchemaInfoGlobal', N'P') IS NOT NULL
    DROP PROCEDURE __ShardManagement.spUpdateShardingSchemaInfoGlobal;
GO
IF OBJECT_ID(N'__ShardManagement.fnGetStoreVersionGlobal', N'FN') IS NOT NULL
    DROP FUNCTION __ShardManagement.fnGetStoreVersionGlobal;
GO
IF OBJECT_ID(N'__ShardManagement.fnGetStoreVersionMajorGlobal', N'FN') IS NOT NULL
    DROP FUNCTION __ShardManagement.fnGetStoreVersionMajorGlobal;
GO
