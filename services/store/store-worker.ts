import { type MailStore, PartlyStored, type StoreItem } from "@millrace/mailstore";
import { defineWorker, type WorkerDefinition } from "@millrace/pipeline";
import { batched, type Spool } from "@millrace/spool";

/** Octets up to which a body is held in one piece; larger ones are streamed from spool to disk. */
const inOnePiece = 256 * 1024;

/**
 * The worker that makes messages durable: blob and index rows first, fsynced, and only then does the spool
 * let the body go. Messages that arrive together share their fsyncs and their transaction.
 */
export function storeWorker(deps: {
  mailstore: MailStore;
  spool: Spool;
  concurrency: number;
}): WorkerDefinition {
  const { mailstore, spool, concurrency } = deps;
  const batch = batched<StoreItem, undefined>(async (items) => {
    try {
      await mailstore.put(items);
      return items.map(() => undefined);
    } catch (error) {
      // One message's trouble is not that of the others in its batch: those are durable.
      if (!(error instanceof PartlyStored)) throw error;
      return items.map(({ manifest }) => error.failures.get(manifest.id));
    }
  }, concurrency);
  const freed = batched<string, void>(async (ids) => {
    await spool.free(ids);
    return ids.map(() => undefined);
  }, concurrency);

  return defineWorker({
    name: "store",
    on: "message.parsed",
    concurrency,
    timeout: 300_000,
    // The mail is safe in the spool, and a full disk takes its time: there is no last attempt.
    retry: { attempts: Number.MAX_SAFE_INTEGER, firstDelay: 500, maxDelay: 60_000 },
    // Its body stays in the spool even then: a dead letter of this worker is mail that waits for a person.
    maxCrashes: 20,
    async handle(_event, ctx) {
      const { message, manifest } = ctx;
      if (!mailstore.has(message)) {
        const parsed = (await spool.parsed(message)) ?? (await ctx.parsed());
        const small = manifest.size <= inOnePiece;
        const raw = small ? await spool.read(message) : () => spool.open(message);
        await batch.add({ manifest, parsed, raw });
      }
      await freed.add(message);
      ctx.emit("message.stored", {});
    },
  });
}
