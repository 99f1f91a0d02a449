import type { PolicyStage, PolicyTransaction } from "@millrace/pipeline";
import { type Logger, type PolicyConfig, StartError } from "@millrace/service";
import { Refusal, refusals } from "../refusal.ts";
import { httpJudge } from "./http-judge.ts";
import type { Judge } from "./judge.ts";
import { openPolicyProcess, type PolicyProcess } from "./policy-process-host.ts";

/** What the policies of the configuration make of a transaction. */
export interface Policies {
  /** Whether anybody is to be asked at this moment. When not, nothing has to be waited for. */
  asks(stage: PolicyStage): boolean;
  /** Milliseconds all policies of any one moment may take together. */
  readonly longest: number;
  /**
   * Asks one after the other, until one refuses. Never throws: who fails is answered for by its `onError`.
   * @returns the refusal, or the tags the transaction has now
   */
  ask(transaction: PolicyTransaction): Promise<Refusal | string[]>;
  close(): Promise<void>;
}

/** Milliseconds all policies of one moment may take: a client waits five minutes for the reply (RFC 5321 §4.5.3.2). */
const longestTogether = 240_000;
/** Tags one message may have. */
const tagsMax = 100;

/**
 * Starts the policies of the configuration.
 * @param heapMb MiB of memory for those that are files
 * @throws StartError that names the file, when one does not load or is no policy
 */
export async function openPolicies(
  configs: readonly PolicyConfig[],
  heapMb: number,
  log: Logger,
): Promise<Policies> {
  const files = configs.filter((config) => "file" in config);
  let own: PolicyProcess | undefined;
  if (files.length > 0) own = await openPolicyProcess(files, heapMb, log);
  const judges = configs.map((config) =>
    "file" in config ? (own?.judges[files.indexOf(config)] as Judge) : httpJudge(config),
  );
  const close = async () => {
    await Promise.all([own?.close(), ...judges.map((judge) => judge.close?.())]);
  };
  const askedAt = (stage: PolicyStage) => judges.filter(({ on }) => on.includes(stage));
  const asked = { mail: askedAt("mail"), rcpt: askedAt("rcpt"), data: askedAt("data") };
  const together = Object.entries(asked).map(
    ([stage, those]) => [stage, those.reduce((sum, { timeout }) => sum + timeout, 0)] as const,
  );
  const longest = Math.max(...together.map(([, time]) => time));
  if (longest > longestTogether) {
    await close();
    const [stage] = together.find(([, time]) => time === longest) as [string, number];
    throw new StartError(
      `policies: those asked at ${stage} may take ${longest / 1_000} s together, and a client waits no longer than ${longestTogether / 1_000} s: lower their \`timeout\``,
    );
  }
  return {
    asks: (stage) => asked[stage].length > 0,
    longest,
    ask: (transaction) => askEach(asked[transaction.on], transaction, log),
    close,
  };
}

async function askEach(
  judges: readonly Judge[],
  transaction: PolicyTransaction,
  log: Logger,
): Promise<Refusal | string[]> {
  const tags = new Set(transaction.tags);
  for (const judge of judges) {
    const decision = await judge.ask({ ...transaction, tags: [...tags] }).catch((error: Error) => {
      log.error({ ...factsForLog(judge, transaction), err: error, onError: judge.onError }, "policy failed");
      return judge.onError;
    });
    if (decision === "defer") return refusals.temporary;
    if (decision === "accept" || decision.decision === "accept") continue;
    if (decision.decision !== "tag") return new Refusal(decision.code, decision.text, judge.name);
    for (const tag of decision.tags) if (tags.size < tagsMax) tags.add(tag);
  }
  return [...tags];
}

function factsForLog({ name }: Judge, transaction: PolicyTransaction): Record<string, unknown> {
  const { on, session, client, from } = transaction;
  return {
    policy: name,
    on,
    session,
    client: client.ip,
    from,
    ...(on === "rcpt" ? { recipient: transaction.recipient } : {}),
    ...(on === "data" ? { message: transaction.message } : {}),
  };
}
