// A process of `millrace dev` that runs one worker. It is started before it is needed and loads all that is not the
// worker's: told which file to run, it is at work within a fraction of a second.
import { registerHooks } from "node:module";
import { fileURLToPath } from "node:url";
import "@millrace/mailstore";
import "@millrace/pipeline";
import { runFile } from "../run-worker.ts";

/** What `millrace dev` says to it. */
export type Order = { type: "run"; file: string } | { type: "ping" };
/** What it says; beside `ready`, which every service says. */
export type Word =
  | { type: "imports"; files: string[] }
  | { type: "pong" }
  | { type: "ready"; worker: string };

/** Milliseconds a handler may go on after a save: then its job is handed back, to be run by the new code. */
const finishWithin = 200;

process.on("message", (order: Order) => {
  if (order.type === "ping") return say({ type: "pong" });
  reportImports();
  void runFile(order.file, { finishWithin });
});

function say(word: Word): void {
  if (process.connected) process.send?.(word);
}

/** Tells of each file the worker is made of, as it is found; also of those that should be there and are not. */
function reportImports(): void {
  const report = (url: string) => {
    if (!url.startsWith("file:") || url.includes("/node_modules/")) return;
    say({ type: "imports", files: [fileURLToPath(url)] });
  };
  registerHooks({
    resolve(specifier, context, nextResolve) {
      try {
        const found = nextResolve(specifier, context);
        report(found.url);
        return found;
      } catch (error) {
        if (/^\.\.?\//.test(specifier) && context.parentURL)
          report(new URL(specifier, context.parentURL).href);
        throw error;
      }
    },
  });
}
