import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { reconcilerKey } from "./keys.ts";
import type { Pipeline } from "./open-pipeline.ts";
import { firstUnits } from "./publish.ts";
import { groupSweep } from "./sweep-groups.ts";
import { jobDataSchema, type UnitRef, wakingsOf } from "./unit.ts";

/** Milliseconds between two rounds, and how long a round may hold the lock. */
const every = 5_000;
const lockFor = 30_000;
/** Messages looked at in one round. */
const perRound = 5_000;
/** Milliseconds a message is left alone after its acceptance: its jobs may still be on their way. */
const settledAfter = 15_000;
/** Rounds after which the entries of all groups are looked at. */
const sweepEvery = 12;
/** Milliseconds between two looks for a job before its unit is given another one. */
const wakenWithin = 1_000;

/**
 * Makes jobs follow the ledger: a unit without a job gets one, whatever lost it. One process does it at a time.
 * Returns a function that ends it.
 */
export function startReconciler(pipeline: Pipeline): () => Promise<void> {
  const controller = new AbortController();
  const loop = async () => {
    const sweep = groupSweep(pipeline);
    let position = 0;
    for (let round = 1; !controller.signal.aborted; round++) {
      const look = async () => {
        if (round % sweepEvery === 0) await sweep();
        return reconcile(pipeline, position);
      };
      try {
        position = await withLock(pipeline, look, position);
      } catch (error) {
        if (!controller.signal.aborted) pipeline.log.warn({ err: error }, "reconciling failed, trying again");
      }
      await sleep(every, undefined, { signal: controller.signal, ref: false }).catch(() => {});
    }
  };
  const ended = loop();
  return async () => {
    controller.abort();
    await Promise.race([ended, sleep(1_000, undefined, { ref: false })]);
  };
}

async function withLock<T>(pipeline: Pipeline, round: () => Promise<T>, otherwise: T): Promise<T> {
  const token = randomUUID();
  if ((await pipeline.redis.set(reconcilerKey, token, "PX", lockFor, "NX")) !== "OK") return otherwise;
  try {
    return await round();
  } finally {
    if ((await pipeline.redis.get(reconcilerKey)) === token) await pipeline.redis.del(reconcilerKey);
  }
}

/**
 * One round: jobs BullMQ buried, and a stretch of the open messages from `position` on, oldest first.
 * @returns the position the next round goes on from
 */
export async function reconcile(pipeline: Pipeline, position: number): Promise<number> {
  const { ledger, queues, log } = pipeline;
  for (const { worker } of pipeline.subscriptions.all()) {
    for (const job of await queues.buried(worker, perRound)) {
      const parsed = jobDataSchema.safeParse(job.data);
      log.error({ worker, job: job.id, reason: job.failedReason }, "job found buried");
      await job.remove();
      if (!parsed.success) continue;
      const open = await Promise.all(wakingsOf(parsed.data).map((ref) => stillOpen(pipeline, ref)));
      await wakeAll(pipeline, open.flat(), "buried");
    }
  }

  const messages = await ledger.open(position, perRound);
  const settled = messages.filter(({ at }) => Date.now() - at >= settledAfter);
  const open = await Promise.all(settled.map(({ id }) => openUnits(pipeline, id)));
  const lost = await queues.withoutJob(open.flat());
  if (lost.length > 0) {
    // Whoever has just opened one of them is to have the time to wake it.
    await sleep(wakenWithin, undefined, { ref: false });
    const still = await Promise.all(lost.map((ref) => stillOpen(pipeline, ref)));
    await wakeAll(pipeline, await queues.withoutJob(still.flat()), "lost");
  }
  return messages.length < perRound ? 0 : position + messages.length;
}

/** The units of a message that want a job. A message that has none at all is brought to its end, or back on its way. */
async function openUnits(pipeline: Pipeline, id: string): Promise<UnitRef[]> {
  const { ledger, log } = pipeline;
  const units = await ledger.unitsOf(id);
  const open = [...units].filter(([, { dead }]) => !dead);
  if (open.length > 0) return open.map(([unit]) => ({ message: id, unit }));
  if (!(await pipeline.spool.has(id))) {
    // What is left are dead letters from before its body was freed; those are in the journal.
    await ledger.close(id);
    return [];
  }
  if (units.size > 0) return [];
  // Its body is here and nobody has work for it: a subscriber was missing when an event was published.
  log.warn({ message: id }, "had no work left and is not stored, starting again");
  const manifest = await pipeline.spool.manifest(id);
  if (!manifest) return [];
  const opens = firstUnits(pipeline, manifest);
  await ledger.reopen(id, opens);
  return [...opens.keys()].map((unit) => ({ message: id, unit }));
}

async function stillOpen(pipeline: Pipeline, ref: UnitRef): Promise<UnitRef[]> {
  const unit = (await pipeline.ledger.unitsOf(ref.message)).get(ref.unit);
  return unit && !unit.dead ? [{ message: ref.message, unit: ref.unit }] : [];
}

async function wakeAll(pipeline: Pipeline, refs: readonly UnitRef[], why: string): Promise<void> {
  if (refs.length === 0) return;
  await Promise.all(refs.map((ref) => pipeline.queues.wake(ref)));
  pipeline.log.info({ jobs: refs.length, why }, "woken");
}
