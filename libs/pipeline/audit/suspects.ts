import { setTimeout as sleep } from "node:timers/promises";
import type { Delivery, MessageId, MessageState } from "@millrace/mail";
import { clearanceOf } from "../clearance.ts";
import { ledgerKeys } from "../keys.ts";
import type { Pipeline } from "../open-pipeline.ts";
import { type AuditFinding, type TerminalState, terminalStates } from "./report.ts";

/** Messages looked at together. */
const together = 200;

/** Where a message is after all; `gone`: removed meanwhile. */
export type Place =
  | { place: "in flight"; state: MessageState }
  | { place: "terminal"; state: TerminalState }
  | { place: "gone" };
/** What a second, closer look at one message says. */
type Verdict = Place | { place: "nowhere"; finding: AuditFinding };

/**
 * Looks at messages one by one, ledger before store, and again until each is where it belongs or has had the time to
 * get there.
 * @param settlesWithin milliseconds a message that is on its way from one place to the next has to arrive there
 * @param delivery when mail may be delivered
 * @param placed told of each message whose place was found after all
 * @returns a finding for each of the others
 */
export async function judgeSuspects(
  pipeline: Pipeline,
  suspects: Iterable<MessageId>,
  { settlesWithin, delivery }: { settlesWithin: number; delivery: Delivery | undefined },
  placed: (place: Place) => void,
): Promise<AuditFinding[]> {
  const deadline = Date.now() + settlesWithin;
  for (let left = [...suspects]; ; ) {
    const findings: AuditFinding[] = [];
    const archiving = left.length === 0 ? new Set<MessageId>() : await messagesOnTheirWay(pipeline);
    for (let start = 0; start < left.length; start += together) {
      const group = left.slice(start, start + together);
      const verdicts = await Promise.all(group.map((id) => judge(pipeline, id, archiving, delivery)));
      for (const verdict of verdicts) {
        if (verdict.place === "nowhere") findings.push(verdict.finding);
        else placed(verdict);
      }
    }
    if (findings.length === 0 || Date.now() > deadline) return findings;
    left = findings.map(({ message }) => message);
    await sleep(250);
  }
}

/** Messages with entries in that part of the journal which has not reached the mail store. */
async function messagesOnTheirWay({ journal, mailstore }: Pipeline): Promise<Set<MessageId>> {
  const ids = new Set<MessageId>();
  for await (const { message } of journal.since(mailstore.cursor())) ids.add(message);
  return ids;
}

async function judge(
  pipeline: Pipeline,
  id: MessageId,
  archiving: ReadonlySet<MessageId>,
  delivery: Delivery | undefined,
): Promise<Verdict> {
  const { redis, mailstore, spool } = pipeline;
  const open = (await redis.zscore(ledgerKeys(id).open, id)) !== null;
  const hasBody = await spool.has(id);
  const state = mailstore.summary(id)?.state;
  if (open && (hasBody || state)) return { place: "in flight", state: state ?? "received" };
  if (state && terminalStates.has(state)) return { place: "terminal", state };
  // Its work is over, and what the work came to is on its way to the store.
  if (state && archiving.has(id)) return { place: "terminal", state: "archiving" };
  const finding = (problem: AuditFinding["problem"], detail: string): Verdict => ({
    place: "nowhere",
    finding: { message: id, problem, detail },
  });
  if (state && delivery?.after === "message.cleared" && !clearanceOf(mailstore.journal(id)).cleared) {
    if (mailstore.deadLetters({ messages: [id] }, { limit: 1 }).length > 0)
      return { place: "terminal", state: "uncleared" };
    return finding(
      "unfinished",
      "no worker has cleared it, nor has work for it: replay it through the one that should",
    );
  }
  if (state) return finding("unfinished", `stored as ${state}, and the ledger has no work for it`);
  if (hasBody) return finding("stranded", "its body is in the spool, and the ledger has no work for it");
  if (mailstore.journal(id).length === 0 && !archiving.has(id)) {
    return { place: "gone" };
  }
  return finding(
    "lost",
    open
      ? "the ledger has work for it, and its body is neither in the spool nor in the mail store"
      : "only the journal knows of it: its body is neither in the spool nor in the mail store",
  );
}
