import { pathToFileURL } from "node:url";
import { inspect } from "node:util";
import { Worker } from "node:worker_threads";
import {
  type Decision,
  decisionSchema,
  type PolicyDefinition,
  type PolicyTransaction,
} from "@millrace/pipeline";
import { createLogger, type Logger } from "@millrace/service";

// Runs in the process that the edge keeps for policies. What is written by others runs here, and nowhere else.

/** What a policy says of itself; its functions stay in its process. */
export type LoadedPolicy = Pick<PolicyDefinition, "name" | "on" | "timeout" | "onError">;

/** A file to load, and the `options` of its entry. */
export interface PolicyFile {
  file: string;
  options: unknown;
}

/** The first message is `load`. `ask` and `abort` are the number of a decision: 1, 2, 3 … */
export type ToPolicies =
  | { load: PolicyFile[]; logLevel: string }
  | { ask: number; policy: number; transaction: PolicyTransaction }
  /** Nobody waits for it any more. Answered with "aborted", which also shows that the process is alive. */
  | { abort: number };

/** An error loses its class, and may lose more, between processes: this much of it arrives. */
export interface ThrownError {
  name: string;
  message: string;
  stack: string;
}

export type FromPolicies =
  | { is: "loaded"; policies: LoadedPolicy[] }
  /** One line that names the file and the cure. */
  | { is: "unloadable"; reason: string }
  /** `decide` is called next: what becomes of the process now is likely its doing. */
  | { is: "begun"; id: number }
  | { is: "decided"; id: number; decision: Decision }
  | { is: "failed"; id: number; error: ThrownError }
  | { is: "aborted"; id: number }
  /** An error that nobody has caught, and that ends the process. */
  | { is: "ending"; error: ThrownError }
  /** A line of a policy's log, as JSON. */
  | { is: "log"; line: string };

/** Lines of log a second that are passed on: a policy that logs without end must not fill the edge's memory. */
const linesMax = 1_000;

const send = (message: FromPolicies, sent = () => {}) => process.send?.(message, sent);

// It would take every other decision with it; as an error it has a line, and harms one.
const { exit } = process;
process.exit = (code) => {
  const error = new Error(`process.exit(${code ?? ""}): a policy has no process of its own to end`);
  // It is the caller's line that matters.
  Error.captureStackTrace(error, process.exit);
  throw error;
};
// An error that nobody has caught leaves word before it ends the process.
process.on("uncaughtException", (error) => send({ is: "ending", error: thrown(error) }, () => exit(1)));
// The edge says when to stop, by closing the channel: not Ctrl-C, nor a supervisor that signals to all at once.
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => {});
process.on("disconnect", () => exit(0));
// A policy that never gives the event loop back would outlive an edge that was killed: nothing above is heard then.
const orphanWatch = `const { workerData: parent } = require("node:worker_threads");
setInterval(() => process.ppid === parent || process.kill(process.pid, "SIGKILL"), 1_000);`;
new Worker(orphanWatch, { eval: true, execArgv: [], workerData: process.ppid }).unref();

interface Loaded {
  policy: PolicyDefinition;
  options: unknown;
}

/** The file cannot be used as a policy; the message is for a person. */
class Unloadable extends Error {}

async function load({ file, options }: PolicyFile): Promise<Loaded> {
  let policy: Partial<PolicyDefinition> | undefined;
  try {
    ({ default: policy } = (await import(pathToFileURL(file).href)) as {
      default?: Partial<PolicyDefinition>;
    });
  } catch (error) {
    throw new Unloadable(`${file} cannot be loaded: ${firstLine(thrown(error).message)}`);
  }
  if (!policy?.name || !policy.on || !policy.decide) {
    throw new Unloadable(
      `${file} has no policy as its default export: write \`export default definePolicy({ … })\``,
    );
  }
  const read = policy.options?.safeParse(options ?? {});
  if (read?.error) {
    const wrong = read.error.issues.map(
      ({ path, message }) => `${["options", ...path].join(".")}: ${message}`,
    );
    throw new Unloadable(`${file}: ${wrong.join("; ")}`);
  }
  return { policy: policy as PolicyDefinition, options: read ? read.data : (options ?? {}) };
}

function openLog(level: string): Logger {
  let second = 0;
  let lines = 0;
  return createLogger("policy", level, {
    write(line) {
      const now = Math.floor(Date.now() / 1_000);
      if (now !== second) [second, lines] = [now, 0];
      if (++lines <= linesMax) send({ is: "log", line });
    },
  });
}

const controllers = new Map<number, AbortController>();

async function decide(
  { policy, options }: Loaded,
  log: Logger,
  { ask: id, transaction }: Extract<ToPolicies, { ask: number }>,
): Promise<void> {
  const { on, session } = transaction;
  const about = { policy: policy.name, on, session };
  const controller = new AbortController();
  controllers.set(id, controller);
  try {
    const ctx = {
      log: log.child(on === "data" ? { ...about, message: transaction.message } : about),
      signal: controller.signal,
      options,
    };
    send({ is: "begun", id });
    const answer = await policy.decide(transaction, ctx);
    const decision = decisionSchema.safeParse(answer);
    if (decision.success) send({ is: "decided", id, decision: decision.data });
    else send({ is: "failed", id, error: rubbish(answer, decision.error.issues) });
  } catch (error) {
    send({ is: "failed", id, error: thrown(error) });
  } finally {
    controllers.delete(id);
  }
}

function rubbish(answer: unknown, issues: readonly { message: string }[]): ThrownError {
  const shown = inspect(answer, { depth: 1, breakLength: Number.POSITIVE_INFINITY }).slice(0, 100);
  return { name: "Error", message: `answered ${shown}: ${issues[0]?.message}`, stack: "" };
}

function thrown(error: unknown): ThrownError {
  if (!(error instanceof Error)) {
    return { name: "Error", message: `threw ${inspect(error).slice(0, 200)}, which is no Error`, stack: "" };
  }
  const { name, message, stack = "" } = error;
  return { name, message: message.slice(0, 2_000), stack: stack.slice(0, 8_000) };
}

function firstLine(text: string): string {
  return text.split("\n")[0] ?? "";
}

async function start({ load: files, logLevel }: Extract<ToPolicies, { load: unknown }>): Promise<void> {
  try {
    const log = openLog(logLevel);
    const loaded: Loaded[] = [];
    for (const file of files) loaded.push(await load(file));
    process.on("message", (message: ToPolicies) => {
      if ("ask" in message) void decide(loaded[message.policy] as Loaded, log, message);
      else if ("abort" in message) {
        controllers.get(message.abort)?.abort(new Error("its time is over"));
        send({ is: "aborted", id: message.abort });
      }
    });
    const policies = loaded.map(({ policy }) => {
      const { name, on, timeout, onError } = policy;
      return { name, on, timeout, onError };
    });
    send({ is: "loaded", policies });
  } catch (error) {
    send({ is: "unloadable", reason: error instanceof Unloadable ? error.message : thrown(error).message });
  }
}

process.once("message", (message: ToPolicies) => {
  if ("load" in message) void start(message);
});
