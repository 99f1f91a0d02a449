export { batched } from "./batch.ts";
export { shardOf, shards, spooledKey, spoolKeys } from "./keys.ts";
export { type Command, type Draft, NotSpooled, redisSpool, type Spool, SpoolFull } from "./spool.ts";
