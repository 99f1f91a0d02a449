#!/usr/bin/env node
// Plain JavaScript, for any Node from 20 on: the sources behind it need the pinned Node, which this finds.
import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { enableCompileCache } from "node:module";
import { fileURLToPath } from "node:url";

const root = new URL("../../../", import.meta.url);
const pinned = JSON.parse(readFileSync(new URL("package.json", root), "utf8")).devDependencies.node;
const pinnedNode = fileURLToPath(new URL("node_modules/.bin/node", root));
const words = [fileURLToPath(import.meta.url), ...process.argv.slice(2)];

if (!olderThan(process.versions.node, pinned)) {
  // Stripped and compiled sources are kept: processes start in half the time, and are tens of megabytes lighter. In
  // the installation, not in a folder for everybody: whoever can write there decides what runs here.
  enableCompileCache(fileURLToPath(new URL("node_modules/.cache/millrace", root)));
  await import("../main.ts");
} else if (!existsSync(pinnedNode)) {
  process.stderr.write(
    `millrace needs Node ${pinned}, and this is ${process.versions.node}: run npm ci in ${fileURLToPath(root)}\n`,
  );
  process.exitCode = 69;
} else if (process.execve) process.execve(pinnedNode, [pinnedNode, ...words], process.env);
else runUnder(pinnedNode);

function olderThan(version, other) {
  const [a, b] = [version, other].map((each) => each.split(".").map(Number));
  const at = a.findIndex((part, i) => part !== b[i]);
  return at !== -1 && a[at] < b[at];
}

/** For a Node that can't replace its own process: what reaches this one reaches the other, once. */
function runUnder(node) {
  // Ctrl-C on a terminal goes to both processes, and a second SIGINT would mean "at once" to the other. Without
  // a terminal the other gets a group of its own: what is sent to a whole group reaches it once, through us.
  const onTerminal = [process.stdin, process.stdout, process.stderr].some((stream) => stream.isTTY);
  const child = spawn(node, words, { stdio: "inherit", detached: !onTerminal });
  process.on("SIGINT", () => onTerminal || child.kill("SIGINT"));
  for (const signal of ["SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
  child.on("error", (error) => {
    process.stderr.write(`millrace: ${node} does not start: ${error.message}\n`);
    process.exit(69);
  });
  child.on("exit", (status, signal) => {
    if (!signal) process.exit(status);
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
  });
}
