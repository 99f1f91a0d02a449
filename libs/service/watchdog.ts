import { Worker } from "node:worker_threads";

/** Milliseconds between two signs of life. */
const beat = 1_000;

/**
 * Ends this process with SIGKILL when its event loop has not turned for so long: a handler that never returns to it
 * would keep every job in this process from going on, and the process from stopping. Its jobs are then taken over by
 * another process, or by its successor. A thread watches, since nothing on the blocked loop could.
 *
 * A machine that sleeps, or a process that is stopped, does not count: the thread counts its own turns, not time.
 */
export function startWatchdog(seconds: number, name: string): void {
  const turns = new Int32Array(new SharedArrayBuffer(4));
  setInterval(() => Atomics.add(turns, 0, 1), beat).unref();
  const thread = new Worker(watch, { eval: true, execArgv: [], workerData: { turns, beat, seconds, name } });
  thread.unref();
}

/** Runs in the thread. A text, so that it needs neither a file of its own nor a loader. */
const watch = `
const { workerData } = require("node:worker_threads");
const { writeSync } = require("node:fs");
const { turns, beat, seconds, name } = workerData;
let seen = -1;
let still = 0;
setInterval(() => {
  const now = Atomics.load(turns, 0);
  still = now === seen ? still + 1 : 0;
  seen = now;
  if (still * beat < seconds * 1_000) return;
  const line = { level: 60, time: new Date().toISOString(), name, pid: process.pid,
    msg: "killed: the event loop stood still for " + seconds + " s (WATCHDOG_SECONDS); a handler does not give it back" };
  writeSync(2, JSON.stringify(line) + "\\n");
  process.kill(process.pid, "SIGKILL");
}, beat);
`;
