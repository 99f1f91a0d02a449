import type { MessageId } from "@millrace/mail";
import type { Pipeline } from "../open-pipeline.ts";
import type { UnitRef } from "../unit.ts";
import type { AuditFinding } from "./report.ts";

/** Milliseconds after its acceptance a message's first jobs may still be on their way. */
const settledAfter = 15_000;
/** Messages looked at together. */
const together = 500;

/** What is in flight, looked at closely. */
export interface InFlightCheck {
  findings: AuditFinding[];
  /** Messages to be looked at again like those that are nowhere: they have no body, or nothing to do. */
  suspects: MessageId[];
  /** The units without a job, for whoever wants to wake them. */
  unwoken: UnitRef[];
}

/** Looks at the work of each message in flight: whether its jobs are there, and its body while it is not stored. */
export async function checkInFlight(
  pipeline: Pipeline,
  open: ReadonlyMap<MessageId, number>,
): Promise<InFlightCheck> {
  const { ledger, spool, queues, mailstore } = pipeline;
  const check: InFlightCheck = { findings: [], suspects: [], unwoken: [] };
  const ids = [...open.keys()];
  for (let start = 0; start < ids.length; start += together) {
    const group = ids.slice(start, start + together);
    const units = await Promise.all(group.map((id) => ledger.unitsOf(id)));
    const bodies = await Promise.all(group.map((id) => mailstore.has(id) || spool.has(id)));
    const refs: UnitRef[] = [];
    for (const [index, id] of group.entries()) {
      const work = units[index] as Awaited<ReturnType<typeof ledger.unitsOf>>;
      const alive = [...work].filter(([, { dead }]) => !dead);
      if (!bodies[index] || (work.size === 0 && !mailstore.has(id))) check.suspects.push(id);
      else if (Date.now() - (open.get(id) ?? 0) >= settledAfter) {
        refs.push(...alive.map(([unit]) => ({ message: id, unit })));
      }
    }
    check.unwoken.push(...(await queues.withoutJob(refs)));
  }
  // A job that was ending at the first look has neither job nor unit at the second.
  check.unwoken = await stillUnwoken(pipeline, check.unwoken);
  for (const { message, unit } of check.unwoken) {
    check.findings.push({ message, problem: "unwoken", detail: `its work ${unit} has no job in the queue` });
  }
  return check;
}

async function stillUnwoken({ ledger, queues }: Pipeline, refs: readonly UnitRef[]): Promise<UnitRef[]> {
  const open: UnitRef[] = [];
  for (const ref of await queues.withoutJob(refs)) {
    const unit = (await ledger.unitsOf(ref.message)).get(ref.unit);
    if (unit && !unit.dead) open.push(ref);
  }
  return open;
}
