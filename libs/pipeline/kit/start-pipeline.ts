import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { findPackageJSON } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { compareSeq, type JournalEntry, type MessageId } from "@millrace/mail";
import type { DeadLetter, MailStore } from "@millrace/mailstore";
import { childEnvironment, createLogger, loadConfig, workerConfig } from "@millrace/service";
import { createTransport } from "nodemailer";
import { openPipeline, type Pipeline } from "../open-pipeline.ts";
import { type RunningWorker, startWorker } from "../start-worker.ts";
import type { WorkerDefinition } from "../worker.ts";
import { mail, type TestMail } from "./mail.ts";

/** Milliseconds a pipeline may take to be ready, on a slow machine that has to install Redis first. */
const startWithin = 120_000;
/** Milliseconds `waitFor` waits unless it is told otherwise. */
const usualWait = 30_000;

export interface StartOptions {
  /** Workers to run beside the pipeline, in the process of the test. */
  workers?: readonly WorkerDefinition[];
  /** What would stand in `millrace.config.yaml`: routes, `workers`. Without it every recipient has a Maildir. */
  config?: Record<string, unknown>;
  /** Settings, as environment variables. */
  env?: Record<string, string>;
}

/** A real pipeline: Redis, edge, parse, store, deliver, on free ports and in a folder of its own. */
export interface RunningPipeline extends AsyncDisposable {
  /** Where SMTP is spoken, on 127.0.0.1. */
  smtpPort: number;
  /** Its working folder: `var` has its data, `var/maildir` the Maildirs. */
  folder: string;
  redisUrl: string;
  /**
   * Sends a mail over SMTP.
   * @param source as in `mail()`, or what it made
   * @returns the id it was accepted with
   * @throws what the edge answered instead of 250
   */
  send(
    source: string | Buffer | TestMail,
    envelope?: { from?: string; recipients?: string[] },
  ): Promise<MessageId>;
  /**
   * Waits for an event, past or to come.
   * @throws after `within` milliseconds (30,000), with what was recorded instead
   */
  waitFor(
    event: string,
    options?: { message?: MessageId; worker?: string; within?: number },
  ): Promise<JournalEntry>;
  /** All that was recorded, or all of one message. */
  journal(message?: MessageId): Promise<JournalEntry[]>;
  /** The dead letters there are now, newest first. */
  deadLetters(): Promise<DeadLetter[]>;
  /** Waits until no message is in flight. */
  idle(within?: number): Promise<void>;
  /** Runs a `millrace` command on it and gives back what it printed. @throws with what it said when its status is not 0 */
  command(...words: string[]): Promise<string>;
  /** Ends it and removes its folder. Also what `await using` calls. */
  stop(): Promise<void>;
}

/** Starts a pipeline for a test. @throws with what it printed when it does not start */
export async function startPipeline(options: StartOptions = {}): Promise<RunningPipeline> {
  const folder = mkdtempSync(join(tmpdir(), "millrace-test-"));
  // A configuration that has listeners says itself where to listen.
  const port: Record<string, string> = options.config?.listeners ? {} : { SMTP_PORT: "0" };
  const env = { ...port, CONSOLE_PORT: "0", LOG_LEVEL: "warn", ...options.env };
  // JSON is YAML too: one name for whatever it is given.
  if (options.config) writeFileSync(join(folder, "millrace.config.json"), JSON.stringify(options.config));
  const up = spawnUp(folder, env);
  const running: RunningWorker[] = [];
  let pipeline: Pipeline | undefined;
  const stop = async () => {
    await Promise.all(running.map((worker) => worker.stop()));
    await pipeline?.close();
    await up.end();
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  };
  try {
    const smtpPort = await up.ready();
    const config = await loadConfig(childEnvironment(env), folder);
    const opened = await openPipeline(config, createLogger("test", env.LOG_LEVEL));
    pipeline = opened;
    for (const worker of options.workers ?? []) {
      const ownConfig = workerConfig(worker.name, worker.config, config, childEnvironment(env));
      running.push(await startWorker(worker, opened, {}, ownConfig));
    }
    return {
      smtpPort,
      folder,
      redisUrl: config.redisUrl,
      ...handles(opened, smtpPort, up.run),
      stop,
      [Symbol.asyncDispose]: stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

type Handles = Pick<RunningPipeline, "send" | "waitFor" | "journal" | "deadLetters" | "idle" | "command">;

function handles(pipeline: Pipeline, port: number, command: RunningPipeline["command"]): Handles {
  const { mailstore, journal: tail, ledger } = pipeline;
  /** Oldest first. The archive is read first: what is carried over meanwhile is then seen twice, and never missed. */
  const journal = async (message?: MessageId): Promise<JournalEntry[]> => {
    const entries = new Map<string, JournalEntry>();
    const ids = message === undefined ? storedIds(mailstore) : [message];
    for (const id of ids) for (const entry of mailstore.journal(id)) entries.set(entry.seq, entry);
    for await (const entry of tail.since("0-0")) {
      if (message === undefined || entry.message === message) entries.set(entry.seq, entry);
    }
    return [...entries.values()].sort((a, b) => compareSeq(a.seq, b.seq));
  };
  const until = async (condition: () => Promise<boolean>, within: number, what: () => Promise<string>) => {
    for (const deadline = Date.now() + within; !(await condition()); await sleep(20)) {
      if (Date.now() > deadline) throw new Error(await what());
    }
  };
  return {
    journal,
    command,
    async send(source, envelope = {}) {
      const sent = typeof source === "string" || Buffer.isBuffer(source) ? mail(source, envelope) : source;
      const { from, recipients } = { ...sent.envelope, ...envelope };
      const transport = createTransport({ host: "127.0.0.1", port, secure: false, ignoreTLS: true });
      const { response } = await transport.sendMail({ envelope: { from, to: recipients }, raw: sent.raw });
      const id = /queued as (\S+)/.exec(response)?.[1];
      if (!id) throw new Error(`accepted, but with no id: ${response}`);
      return id;
    },
    async waitFor(event, { message, worker, within = usualWait } = {}) {
      let found: JournalEntry | undefined;
      const look = async () => {
        found = (await journal(message)).find(
          (entry) => entry.event === event && (worker === undefined || entry.worker === worker),
        );
        return found !== undefined;
      };
      await until(look, within, async () => {
        const seen = (await journal(message)).map((entry) => `${entry.worker}: ${entry.event}`);
        return `no ${event}${worker ? ` of ${worker}` : ""} within ${within} ms; there was ${seen.join(", ") || "nothing"}`;
      });
      return found as JournalEntry;
    },
    async deadLetters() {
      // They are made of the journal once it is archived.
      await until(
        async () => (await tail.length()) === 0,
        usualWait,
        async () => "the journal is not archived",
      );
      return mailstore.deadLetters({}, { limit: 10_000 }).reverse();
    },
    async idle(within = usualWait) {
      const inFlight = () => ledger.openCount();
      await until(
        async () => (await inFlight()) === 0,
        within,
        async () => `${await inFlight()} messages still in flight`,
      );
    },
  };
}

function* storedIds(mailstore: Pick<MailStore, "select">): Generator<MessageId> {
  for (let after: string | undefined; ; ) {
    const page = mailstore.select({}, after, 1_000);
    yield* page.map(({ id }) => id);
    if (page.length === 0) return;
    after = page.at(-1)?.position;
  }
}

/** Runs the `millrace` command this library was installed with. */
function spawnUp(folder: string, env: Record<string, string>) {
  const start = (words: string[]): { child: ChildProcess; output: () => string; stdout: () => string } => {
    const child = spawn(process.execPath, [commandFile(), ...words], {
      cwd: folder,
      env: childEnvironment(env),
      stdio: ["ignore", "pipe", "pipe"],
    });
    let [output, stdout] = ["", ""];
    child.stdout.on("data", (data: Buffer) => {
      output += data;
      stdout += data;
    });
    child.stderr.on("data", (data: Buffer) => {
      output += data;
    });
    return { child, output: () => output, stdout: () => stdout };
  };
  const { child, output } = start(["up"]);
  return {
    /** Resolves with the port of the edge. */
    async ready(): Promise<number> {
      for (const deadline = Date.now() + startWithin; !/Ctrl-C/.test(output()); await sleep(20)) {
        if (child.exitCode !== null || child.signalCode !== null || Date.now() > deadline)
          throw new Error(`the pipeline did not start: ${output()}`);
      }
      return Number(/^smtp\s+\S+:(\d+)/m.exec(output())?.[1]);
    },
    async end(): Promise<void> {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const gone = once(child, "exit");
      child.kill("SIGINT");
      await gone;
    },
    async run(...words: string[]): Promise<string> {
      const command = start(words);
      const [status] = (await once(command.child, "close")) as [number | null];
      if (status === 0) return command.stdout();
      throw new Error(`millrace ${words.join(" ")}: status ${status}: ${command.output()}`);
    },
  };
}

function commandFile(): string {
  const found = findPackageJSON("millrace", import.meta.url);
  if (!found) throw new Error("the millrace command is not installed beside @millrace/pipeline");
  const { bin } = JSON.parse(readFileSync(found, "utf8")) as { bin: { millrace: string } };
  return join(dirname(found), bin.millrace);
}
