import type { MessageId, Routing } from "@millrace/mail";
import type { Pipeline } from "../open-pipeline.ts";
import { firstUnits } from "../publish.ts";
import { deliveryUnits } from "../replay-items.ts";
import type { AuditFinding } from "./report.ts";

/**
 * Gives a message back to the workers, where that mends what was found.
 * @returns what was done, in words; null when nothing can be done from here
 */
export async function repair(
  pipeline: Pipeline,
  { message, problem, detail }: AuditFinding,
  routing: Routing,
  by: string,
): Promise<string | null> {
  switch (problem) {
    case "unwoken": {
      const units = [...(await pipeline.ledger.unitsOf(message))].filter(([, { dead }]) => !dead);
      await Promise.all(units.map(([unit]) => pipeline.queues.wake({ message, unit })));
      return `woke ${units.map(([unit]) => unit).join(", ")}`;
    }
    case "stranded":
      return startAgain(pipeline, message);
    case "unfinished":
    case "silent":
      return deliverAgain(pipeline, message, routing, { by, why: detail });
    default:
      return null;
  }
}

/** From its acceptance on, as if it had only now come in. */
async function startAgain(pipeline: Pipeline, message: MessageId): Promise<string | null> {
  const manifest = await pipeline.spool.manifest(message);
  if (!manifest) return null;
  const units = firstUnits(pipeline, manifest);
  if (units.size === 0) return null;
  await pipeline.ledger.reopen(message, units);
  await Promise.all([...units.keys()].map((unit) => pipeline.queues.wake({ message, unit })));
  return `started again with ${[...units.keys()].join(", ")}`;
}

/** To the recipients of today's targets that do not have it. */
async function deliverAgain(
  pipeline: Pipeline,
  message: MessageId,
  routing: Routing,
  { by, why }: { by: string; why: string },
): Promise<string | null> {
  const manifest = pipeline.mailstore.manifest(message);
  if (!manifest) return null;
  const source = { mailstore: pipeline.mailstore, ledger: pipeline.ledger, routing };
  const units = await deliveryUnits(source, manifest, manifest.envelope.recipients, { force: false });
  if (units.size === 0) return null;
  const replayed = [...units].map(([name, { unit, worker, job, target }]) => {
    const data = { job, worker, target, replay: "audit", by, why };
    return [name, { unit, entry: { at: Date.now(), event: "job.replayed", worker: "audit", data } }] as const;
  });
  const opened = await pipeline.replays.open(manifest, new Map(replayed));
  await Promise.all(opened.map((unit) => pipeline.queues.wake({ message, unit })));
  return opened.length > 0 ? `delivering again: ${opened.join(", ")}` : "it is being delivered again already";
}
