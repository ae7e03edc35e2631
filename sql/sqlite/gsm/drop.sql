-- Drops the global store, children before parents. Runs in one transaction with the installation of a new one.

DROP TABLE IF EXISTS "__ShardManagement.ShardDescriptionsGlobal";
DROP TABLE IF EXISTS "__ShardManagement.ShardMappingsGlobal";
DROP TABLE IF EXISTS "__ShardManagement.ShardsGlobal";
DROP TABLE IF EXISTS "__ShardManagement.ShardMapsGlobal";
DROP TABLE IF EXISTS "__ShardManagement.OperationsLogGlobal";
DROP TABLE IF EXISTS "__ShardManagement.ShardedDatabaseSchemaInfosGlobal";
DROP TABLE IF EXISTS "__ShardManagement.ShardMapManagerGlobal";
