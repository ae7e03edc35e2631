-- The table of the descriptions of shards, which is this library's own: it stands beside those of 0102.sql and has no reference
-- to them. It is made with the store, or by the first description. Safe to run twice.

CREATE TABLE IF NOT EXISTS "__ShardManagement.ShardDescriptionsGlobal" (
    "ShardId" TEXT NOT NULL,
    "ShardMapId" TEXT NOT NULL,
    "Description" TEXT NOT NULL,
    CONSTRAINT "pkShardDescriptionsGlobal_ShardId" PRIMARY KEY ("ShardId")
) STRICT;
