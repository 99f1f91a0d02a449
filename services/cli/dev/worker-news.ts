import type { MessageId } from "@millrace/mail";
import { forgetProcess, type Pipeline, retryNow, takeBack } from "@millrace/pipeline/runtime";
import { colour, duration } from "../terminal.ts";
import type { WorkerEnd, WorkerEvents } from "./dev-worker.ts";
import { clock } from "./step-line.ts";
import { shownPath } from "./worker-files.ts";
import { type LogLine, logLine, plainLine, readOutput } from "./worker-output.ts";

/** Lines of the runtime that a step of the journal, or a line of ours, says as well. */
const toldOtherwise = new Set([
  ...["ready", "stopping", "stopped", "deferred", "suspended", "dead-lettered", "handed back"],
  ...["subscription registered", "process ends with jobs in hand"],
]);
/** What V8 writes when its heap is full, before it aborts. */
const heapDump = /^(?:<--- |FATAL ERROR: |----- Native stack|\s*\d+: 0x|\[\d+:0x|$)/;
const heapFull = /JavaScript heap out of memory/;

interface Desk {
  pipeline: Pick<Pipeline, "queues" | "ledger" | "redis">;
  subject: (id: MessageId) => Promise<string | undefined>;
  /** Writes a line. */
  write: (line: string) => void;
  heapMb: number;
  imports: (files: readonly string[]) => void;
}

/** Tells a developer what becomes of a worker, and sees to it that its jobs are not left behind. */
export function workerNews(file: string, desk: Desk): WorkerEvents {
  const { pipeline, write } = desk;
  const tell = (text: string) => write(`${colour.dim(clock(Date.now()))}  ${text}`);
  /** What the process has said of its end, by its pid. */
  const lastWords = new Map<number, { at?: string; heapFull?: boolean }>();

  const read = (pid: number) => (line: LogLine | string) => {
    const words = lastWords.get(pid) ?? {};
    lastWords.set(pid, words);
    if (typeof line === "string") {
      if (heapFull.test(line)) words.heapFull = true;
      return heapDump.test(line) ? undefined : write(plainLine(line));
    }
    if (line.at !== undefined && line.level >= 60) words.at = line.at;
    if (!toldOtherwise.has(line.msg ?? "")) write(logLine(line));
  };

  return {
    imports: desk.imports,
    output(child) {
      const pid = child.pid as number;
      for (const stream of [child.stdout, child.stderr]) if (stream) readOutput(stream, read(pid));
    },
    async live(worker, ms) {
      tell(colour.green(`${worker} is live`) + colour.dim(`  ${shownPath(file)}, ${duration(ms)}`));
      const again = await retryNow(pipeline, worker).catch(() => 0);
      if (again > 0) tell(`${worker}: ${again} that had failed, tried again now`);
    },
    // The list of processes must not show two versions where one is about to end: the older would be taken for a
    // deployment that is rolled back, and what it subscribes to for older news.
    ending: (worker, pid) => forgetProcess(pipeline.redis, worker, pid).catch(() => {}),
    async ended(end) {
      const words = lastWords.get(end.pid) ?? {};
      lastWords.delete(end.pid);
      if (end.why === "unloadable") {
        return tell(colour.red(`${shownPath(file)} does not start (${end.how}); waiting for a save`));
      }
      const worker = end.worker as string;
      const lost = await takeBack(pipeline, worker, { pid: end.pid, blame: end.why === "crashed" }).catch(
        () => [],
      );
      await forgetProcess(pipeline.redis, worker, end.pid).catch(() => {});
      if (end.why !== "asked") tell(colour.red(endLine(worker, end, words, desk.heapMb)));
      for (const { message, unit, attempt } of lost) {
        const subject = await desk.subject(message).catch(() => undefined);
        const about = subject ? `  ${JSON.stringify(subject)}` : "";
        tell(`  had in hand: ${message}${plainLine(about)}  ${unit}, attempt ${attempt}`);
      }
    },
  };
}

function endLine(
  worker: string,
  { why, how, again }: WorkerEnd,
  words: { at?: string; heapFull?: boolean },
  heapMb: number,
): string {
  if (why === "killed") return `${worker}: the old process did not end, and was killed`;
  const place = words.at === undefined ? "" : ` at ${words.at}`;
  const reason = words.heapFull ? `out of memory: its heap of ${heapMb} MiB is full (--heap)` : how;
  const next = again === undefined ? "" : `; starts again in ${duration(again)}, or with the next save`;
  return `${worker} crashed${place}: ${reason}${next}`;
}
