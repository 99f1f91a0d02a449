import { hostname, userInfo } from "node:os";
import { createInterface } from "node:readline/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { compareSeq } from "@millrace/mail";
import { openPipeline, type Pipeline } from "@millrace/pipeline/runtime";
import { type Config, createLogger, failFastRedis, loadConfig } from "@millrace/service";
import { CommandError } from "./terminal.ts";

/** What the commands that change something hold. */
export interface Working {
  config: Config;
  pipeline: Pipeline;
}

/**
 * Opens the pipeline for the time of one command.
 * @throws CommandError when no Redis answers: nothing can be changed without it
 */
export async function withPipeline<T>(use: (working: Working) => Promise<T>): Promise<T> {
  const config = await loadConfig();
  // A worker's client waits for Redis as long as it takes; somebody at a terminal wants to know at once.
  const probe = failFastRedis(config.redisUrl, { lazyConnect: true, retryStrategy: () => null });
  await probe.connect().catch((error: Error) => {
    throw new CommandError(
      `no Redis answers (${error.message}); start one with \`millrace up\`, or set REDIS_URL`,
      69,
    );
  });
  probe.disconnect();
  const pipeline = await openPipeline(config, createLogger("millrace", "silent"));
  try {
    return await use({ config, pipeline });
  } finally {
    await pipeline.close();
  }
}

/** Milliseconds the store has to take over what the journal holds. */
const archivedWithin = 15_000;

/**
 * Waits until everything that has happened up to now can be seen in the mail store.
 * @throws CommandError when that does not come about: somebody would then be shown, or given, what is over already
 */
export async function journalArchived({ pipeline }: Working): Promise<void> {
  const newest = await pipeline.journal.last();
  const deadline = Date.now() + archivedWithin;
  while (compareSeq(pipeline.mailstore.cursor(), newest) < 0) {
    if (Date.now() > deadline) {
      const entries = await pipeline.journal.length();
      throw new CommandError(
        `${entries} entries of the journal have not reached the mail store: the store worker does not run, or lags behind; start it (\`millrace up\`, \`millrace worker store\`) and try again`,
      );
    }
    await sleep(50);
  }
}

/** Asks on a terminal; without one there is nobody to ask, and the answer is yes. */
export async function confirmed(question: string, yes: boolean | undefined): Promise<boolean> {
  if (yes || !process.stdin.isTTY || !process.stderr.isTTY) return true;
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return /^y(es)?$/i.test((await terminal.question(`${question} [y/N] `)).trim());
  } finally {
    terminal.close();
  }
}

/** Who is at work here, for the journal: `user@host`. */
export function whoami(): string {
  try {
    return `${userInfo().username}@${hostname()}`;
  } catch {
    // A user no file of the system names, as in some containers.
    return `${process.getuid?.() ?? "unknown"}@${hostname()}`;
  }
}
