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
const { Session } = require("node:inspector");
const { turns, beat, seconds, name } = workerData;
let seen = -1;
let still = 0;
const urls = new Map();
const watching = setInterval(() => {
  const now = Atomics.load(turns, 0);
  still = now === seen ? still + 1 : 0;
  seen = now;
  if (still * beat < seconds * 1_000) return;
  clearInterval(watching);
  const kill = (at) => {
    const line = { level: 60, time: new Date().toISOString(), name, pid: process.pid, at,
      msg: "killed: the event loop stood still for " + seconds + " s (WATCHDOG_SECONDS); a handler does not give it back" };
    writeSync(2, JSON.stringify(line) + "\\n");
    process.kill(process.pid, "SIGKILL");
  };
  // The inspector can stop code that never ends and say where; not code that waits within a system call.
  setTimeout(kill, beat);
  try {
    const session = new Session();
    session.connectToMainThread();
    session.on("Debugger.scriptParsed", ({ params }) => urls.set(params.scriptId, params.url));
    session.on("Debugger.paused", ({ params }) => kill(placeOf(params.callFrames)));
    session.post("Debugger.enable");
    session.post("Debugger.pause");
  } catch {}
}, beat);

/** The first frame that is neither Node's nor a package's. */
function placeOf(frames) {
  for (const { location } of frames) {
    const url = urls.get(location.scriptId) ?? "";
    if (!url.startsWith("file:") || url.includes("/node_modules/")) continue;
    const path = require("node:url").fileURLToPath(url);
    const fromHere = require("node:path").relative(process.cwd(), path);
    return (fromHere.startsWith("..") ? path : fromHere) + ":" + (location.lineNumber + 1) + ":" + (location.columnNumber + 1);
  }
}
`;
