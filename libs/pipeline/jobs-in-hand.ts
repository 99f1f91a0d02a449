import { writeSync } from "node:fs";
import { sourceOf } from "./source-of.ts";

/** A job whose handler runs at this time. */
export interface JobInHand {
  message: string;
  job: string;
  attempt: number;
}

const inHand = new Set<JobInHand & { worker: string }>();
let watching = false;

/** Keeps count of the jobs a worker has in hand, so that a process that ends over one can still say which. */
export class JobsInHand {
  private readonly worker: string;

  constructor(worker: string) {
    this.worker = worker;
    watch();
  }

  /** @returns what says that it is no longer in hand */
  take(job: JobInHand): () => void {
    const entry = { worker: this.worker, ...job };
    inHand.add(entry);
    return () => void inHand.delete(entry);
  }
}

/**
 * A handler that calls `process.exit`, or an error nobody caught, ends the process with jobs in hand. This is said in the
 * last line it writes, at once: the logger would write behind. They are tried again by the next process.
 */
function watch(): void {
  if (watching) return;
  watching = true;
  process.on("exit", (status) => {
    if (inHand.size === 0) return;
    const line = {
      ...{ level: 60, time: new Date().toISOString(), name: "worker", pid: process.pid },
      ...{ status, at: sourceOf(new Error("exit")), jobs: [...inHand] },
      msg: "process ends with jobs in hand",
    };
    writeSync(2, `${JSON.stringify(line)}\n`);
  });
}
