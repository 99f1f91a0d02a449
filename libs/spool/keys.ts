import type { MessageId } from "@millrace/mail";

/**
 * Every key of a message carries the same hash tag, so that one script may touch them together, on Redis
 * Cluster too. One shard today; a message's shard is derived from its id alone, so that more can follow.
 */
export function shardOf(_id: MessageId): string {
  return "{0}";
}

/** All shards: what a reconciler or an audit walks through. */
export const shards: readonly string[] = ["{0}"];

/** The spool's keys of one message. */
export function spoolKeys(id: MessageId) {
  const base = `millrace:${shardOf(id)}`;
  return {
    /** List of octet strings, in order: the raw message. */
    chunks: `${base}:chunks:${id}`,
    /** Octets in `chunks` while they are being written; gone with the commit. */
    octets: `${base}:octets:${id}`,
    /** JSON of the manifest. */
    manifest: `${base}:manifest:${id}`,
    /** JSON of the parsed message, from the parser until the store has taken it. */
    parsed: `${base}:parsed:${id}`,
    /** Sorted set of the ids whose body is here, by time of commit. */
    spooled: spooledKey(shardOf(id)),
  };
}

export function spooledKey(shard: string): string {
  return `millrace:${shard}:spooled`;
}
