import { setTimeout as sleep } from "node:timers/promises";
import type { MessageId, MessageState } from "@millrace/mail";
import { ledgerKeys } from "../keys.ts";
import type { Pipeline } from "../open-pipeline.ts";
import { type AuditFinding, terminalStates } from "./report.ts";

/** Milliseconds a message that is on its way from one place to the next has to arrive there. */
const settlesWithin = 10_000;
/** Messages looked at together. */
const together = 200;

/** What a second, closer look at one message says: it is fine, or it is not. */
type Verdict =
  | { fine: "in flight" | "terminal" | "gone"; state: MessageState }
  | { fine: false; finding: AuditFinding };

/**
 * Looks at messages one by one, ledger before store, and again until each is where it belongs or has had the time to
 * get there.
 * @param judged told of each message whose place was found after all
 * @returns a finding for each of the others
 */
export async function judgeSuspects(
  pipeline: Pipeline,
  suspects: ReadonlySet<MessageId>,
  judged: (id: MessageId, place: "in flight" | "terminal" | "gone", state: MessageState) => void,
): Promise<AuditFinding[]> {
  const deadline = Date.now() + settlesWithin;
  for (let left = [...suspects]; ; ) {
    const findings: AuditFinding[] = [];
    for (let start = 0; start < left.length; start += together) {
      const group = left.slice(start, start + together);
      const verdicts = await Promise.all(group.map((id) => judge(pipeline, id)));
      for (const [index, verdict] of verdicts.entries()) {
        if (verdict.fine === false) findings.push(verdict.finding);
        else judged(group[index] as MessageId, verdict.fine, verdict.state);
      }
    }
    if (findings.length === 0 || Date.now() > deadline) return findings;
    left = findings.map(({ message }) => message);
    await sleep(250);
  }
}

async function judge(pipeline: Pipeline, id: MessageId): Promise<Verdict> {
  const { redis, mailstore, spool } = pipeline;
  const open = (await redis.zscore(ledgerKeys(id).open, id)) !== null;
  const hasBody = await spool.has(id);
  const state = mailstore.summary(id)?.state;
  if (open && (hasBody || state)) return { fine: "in flight", state: state ?? "received" };
  if (state && terminalStates.has(state)) return { fine: "terminal", state };
  const finding = (problem: AuditFinding["problem"], detail: string): Verdict => ({
    fine: false,
    finding: { message: id, problem, detail },
  });
  if (state) return finding("unfinished", `stored as ${state}, and the ledger has no work for it`);
  if (hasBody) return finding("stranded", "its body is in the spool, and the ledger has no work for it");
  if (mailstore.journal(id).length === 0 && (await pipeline.journal.of(id)).length === 0) {
    return { fine: "gone", state: "received" };
  }
  return finding(
    "lost",
    open
      ? "the ledger has work for it, and its body is neither in the spool nor in the mail store"
      : "only the journal knows of it: its body is neither in the spool nor in the mail store",
  );
}
