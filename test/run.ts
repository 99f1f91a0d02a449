import { globSync } from "node:fs";
import { availableParallelism } from "node:os";
import { relative, resolve, sep } from "node:path";
import { run } from "node:test";
import { spec } from "node:test/reporters";

/**
 * Runs every test of the workspace in one go: `node test/run.ts [part of a path]...`. Ends with the runner's own
 * summary, and with status 1 when a test failed. With CI=true a test that was skipped or is still to do fails
 * the run too: nothing may pass by not being run.
 */
const root = resolve(import.meta.dirname, "..");
const strict = process.env.CI === "true";
/** Time for one test that does not set its own. */
const timeoutMs = 120_000;
/** Time between two signs of life of a file. One that left a server open is done, and never ends. */
const silenceMs = 240_000;
const notOurs = /(^|\/)(node_modules|fixtures|bench|var)(\/|$)/;

const filters = process.argv.slice(2);
const all = globSync("{libs,services,test}/**/*.test.ts", {
  cwd: root,
  exclude: (path) => notOurs.test(path),
});
const chosen = all
  .map((file) => file.split(sep).join("/"))
  .filter((file) => filters.length === 0 || filters.some((filter) => file.includes(normalized(filter))))
  .sort();

if (chosen.length === 0) {
  process.stderr.write(
    `no test file has ${filters.join(" or ") || "a name that ends in .test.ts"} in its path\n`,
  );
  process.exit(1);
}

const files = new Set(chosen.map((file) => resolve(root, file)));
const notRun: string[] = [];
const hung = new AbortController();
const tests = run({
  cwd: root,
  files: [...files],
  // Most tests wait for sockets and fsyncs, not for a processor.
  concurrency: Math.max(2, availableParallelism()),
  timeout: timeoutMs,
  signal: hung.signal,
});
tests.on("test:fail", () => {
  process.exitCode = 1;
});
for (const outcome of ["test:pass", "test:fail"] as const) {
  tests.on(outcome, ({ name, file, skip, todo }) => {
    const why =
      skip !== undefined && skip !== false ? "skipped" : todo !== undefined && todo !== false ? "todo" : "";
    if (why) notRun.push(`${why}: ${file ? relative(root, file) : ""} ${name}`);
  });
}
const alive = new Map<string, number>();
for (const sign of ["test:start", "test:pass", "test:fail", "test:stdout", "test:stderr"] as const) {
  // A test may stand in a file that others import, as those of a suite do: it has no end of its own.
  tests.on(sign, ({ file }) => file && files.has(file) && alive.set(file, Date.now()));
}
const watch = setInterval(() => {
  for (const [file, at] of alive) {
    if (hung.signal.aborted || Date.now() - at < silenceMs) continue;
    fail(`${relative(root, file)} did not end: a test in it leaves a server, a process or a timer behind`);
    hung.abort();
  }
}, 1_000);
tests.on("test:summary", ({ file, counts, success }) => {
  // Files have summaries of their own; the last one, of no file, is that of the run.
  if (file !== undefined) return void alive.delete(file);
  clearInterval(watch);
  if (!success) process.exitCode = 1;
  if (counts.tests === 0) fail("no test was run");
  if (strict && notRun.length > 0) fail(`CI=true, and not every test was run:\n${notRun.join("\n")}`);
});
tests.compose(spec).pipe(process.stdout);

function normalized(filter: string): string {
  return relative(root, resolve(filter)).startsWith("..") ? filter : relative(root, resolve(filter)) || "/";
}

function fail(reason: string): void {
  process.exitCode = 1;
  process.once("exit", () => process.stderr.write(`${reason}\n`));
}
