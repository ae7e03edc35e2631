-- The rights that this library needs, and no more, as three roles in the current database. Run it by hand, as an owner of the
-- database, in that of the global store and in each shard's, after the stores are installed; run it again when a script
-- of this folder has been run again. Then add users: ALTER ROLE shardlet_access ADD MEMBER [routing_app].
--
--   shardlet_management  administrators: every change of maps, shards and mappings
--   shardlet_access      applications that only route: they read the global store
--   shardlet_connection  what an application uses on a shard: the validation of its routes
--
-- The roles may call procedures only. These work by ownership chaining: procedures and tables have one owner, so nobody
-- needs a right on a table. (Babelfish does not chain ownership: there the roles need the rights on the tables as well.)
--
-- Not here, because they are rights of the server: ending sessions when a mapping goes offline takes VIEW SERVER STATE and
-- ALTER ANY CONNECTION, on Azure SQL Database VIEW DATABASE STATE (on its small and pooled tiers ##MS_ServerStateReader##)
-- and KILL DATABASE CONNECTION. A login without them takes mappings offline with SessionPolicy::Leave, or is told that it
-- cannot end the sessions. Whoever installs or upgrades stores needs CREATE SCHEMA, CREATE TABLE and CREATE PROCEDURE, and on
-- a schema that is not its own ALTER, REFERENCES, SELECT, INSERT and UPDATE; run the scripts of gsm/ and lsm/ as an owner
-- and the management role needs none of these.

IF DATABASE_PRINCIPAL_ID(N'shardlet_management') IS NULL EXEC (N'CREATE ROLE shardlet_management');
GO
IF DATABASE_PRINCIPAL_ID(N'shardlet_access') IS NULL EXEC (N'CREATE ROLE shardlet_access');
GO
IF DATABASE_PRINCIPAL_ID(N'shardlet_connection') IS NULL EXEC (N'CREATE ROLE shardlet_connection');
GO
-- The global store. Its version is read from its table, also by who may not call anything yet.
IF OBJECT_ID(N'__ShardManagement.shardlet1_ListShardMaps', N'P') IS NOT NULL
BEGIN
    GRANT SELECT ON OBJECT::__ShardManagement.ShardMapManagerGlobal TO shardlet_management, shardlet_access;
    GRANT EXECUTE ON OBJECT::__ShardManagement.shardlet1_ListShardMaps TO shardlet_management, shardlet_access;
    GRANT EXECUTE ON OBJECT::__ShardManagement.shardlet1_FindShardMap TO shardlet_management, shardlet_access;
    GRANT EXECUTE ON OBJECT::__ShardManagement.shardlet1_AddShardMap TO shardlet_management;
    GRANT EXECUTE ON OBJECT::__ShardManagement.shardlet1_RemoveShardMap TO shardlet_management;
    GRANT EXECUTE ON OBJECT::__ShardManagement.shardlet1_ListShards TO shardlet_management, shardlet_access;
    GRANT EXECUTE ON OBJECT::__ShardManagement.shardlet1_FindShard TO shardlet_management, shardlet_access;
    GRANT EXECUTE ON OBJECT::__ShardManagement.shardlet1_ListShardLocations TO shardlet_management, shardlet_access;
    GRANT EXECUTE ON OBJECT::__ShardManagement.shardlet1_ListMappings TO shardlet_management, shardlet_access;
    GRANT EXECUTE ON OBJECT::__ShardManagement.shardlet1_FindMappingByKey TO shardlet_management, shardlet_access;
    GRANT EXECUTE ON OBJECT::__ShardManagement.shardlet1_FindMappingById TO shardlet_management, shardlet_access;
    GRANT EXECUTE ON OBJECT::__ShardManagement.shardlet1_LoadAll TO shardlet_management, shardlet_access;
    GRANT EXECUTE ON OBJECT::__ShardManagement.shardlet1_ChangeLock TO shardlet_management;
    GRANT EXECUTE ON OBJECT::__ShardManagement.shardlet1_ListOperations TO shardlet_management;
    GRANT EXECUTE ON OBJECT::__ShardManagement.shardlet1_FindOperation TO shardlet_management;
    GRANT EXECUTE ON OBJECT::__ShardManagement.shardlet1_BeginShard TO shardlet_management;
    GRANT EXECUTE ON OBJECT::__ShardManagement.shardlet1_EndShard TO shardlet_management;
    GRANT EXECUTE ON OBJECT::__ShardManagement.shardlet1_BeginMappings TO shardlet_management;
    GRANT EXECUTE ON OBJECT::__ShardManagement.shardlet1_EndMappings TO shardlet_management;
    GRANT EXECUTE ON OBJECT::__ShardManagement.shardlet1_EndMending TO shardlet_management;
    GRANT EXECUTE ON OBJECT::__ShardManagement.shardlet1_DetachShard TO shardlet_management;
    GRANT EXECUTE ON OBJECT::__ShardManagement.shardlet1_DescribeShard TO shardlet_management;
    GRANT EXECUTE ON OBJECT::__ShardManagement.shardlet1_ListShardDescriptions TO shardlet_management, shardlet_access;
    GRANT EXECUTE ON OBJECT::__ShardManagement.shardlet1_ListSchemaInfos TO shardlet_management, shardlet_access;
    GRANT EXECUTE ON OBJECT::__ShardManagement.shardlet1_FindSchemaInfo TO shardlet_management, shardlet_access;
    GRANT EXECUTE ON OBJECT::__ShardManagement.shardlet1_AddSchemaInfo TO shardlet_management;
    GRANT EXECUTE ON OBJECT::__ShardManagement.shardlet1_UpdateSchemaInfo TO shardlet_management;
    GRANT EXECUTE ON OBJECT::__ShardManagement.shardlet1_RemoveSchemaInfo TO shardlet_management;
END
GO
-- A local store. Connections are opened, and validated, with the credentials of the application, whoever opens them.
IF OBJECT_ID(N'__ShardManagement.shardlet1_ListLocalShards', N'P') IS NOT NULL
BEGIN
    GRANT SELECT ON OBJECT::__ShardManagement.ShardMapManagerLocal TO shardlet_management;
    GRANT EXECUTE ON OBJECT::__ShardManagement.shardlet1_ListLocalShards TO shardlet_management;
    GRANT EXECUTE ON OBJECT::__ShardManagement.shardlet1_ListLocalMappings TO shardlet_management;
    GRANT EXECUTE ON OBJECT::__ShardManagement.shardlet1_AddLocalShard TO shardlet_management;
    GRANT EXECUTE ON OBJECT::__ShardManagement.shardlet1_RemoveLocalShard TO shardlet_management;
    GRANT EXECUTE ON OBJECT::__ShardManagement.shardlet1_UpdateLocalShard TO shardlet_management;
    GRANT EXECUTE ON OBJECT::__ShardManagement.shardlet1_ChangeLocalMappings TO shardlet_management;
    GRANT EXECUTE ON OBJECT::__ShardManagement.shardlet1_ReplaceLocalShard TO shardlet_management;
    GRANT EXECUTE ON OBJECT::__ShardManagement.shardlet1_ValidateMapping TO shardlet_connection;
    GRANT EXECUTE ON OBJECT::__ShardManagement.shardlet1_ValidateShard TO shardlet_connection;
    GRANT EXECUTE ON OBJECT::__ShardManagement.shardlet1_ListSessions TO shardlet_management;
    GRANT EXECUTE ON OBJECT::__ShardManagement.shardlet1_KillSessions TO shardlet_management;
END
GO
