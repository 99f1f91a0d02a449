#!/usr/bin/env node
// Plain JavaScript, for any Node from 20 on: what is behind it needs the pinned Node, the npm package `node`, and this
// finds it. In a workspace and in an installation alike, packages are where Node itself looks for them.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import module from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const require = module.createRequire(import.meta.url);
const pinned = require("../package.json").dependencies.node;
const nodePackage = findPackage("node");
const pinnedNode = nodePackage && join(nodePackage, "bin/node");
const words = [fileURLToPath(import.meta.url), ...process.argv.slice(2)];

if (!olderThan(process.versions.node, pinned)) {
  // Stripped and compiled sources are kept: processes start in half the time, and are tens of megabytes lighter. Beside
  // the packages, not in a folder for everybody: whoever can write there decides what runs here. Where we cannot
  // write, Node goes without.
  if (nodePackage) module.enableCompileCache(join(dirname(nodePackage), ".cache/millrace"));
  await import("millrace");
} else if (!pinnedNode || !existsSync(pinnedNode)) {
  const cure = nodePackage
    ? `npm rebuild node --ignore-scripts=false in ${dirname(dirname(nodePackage))}`
    : "npm install where you installed it";
  process.stderr.write(`millrace needs Node ${pinned}, and this is ${process.versions.node}: run ${cure}\n`);
  process.exitCode = 69;
} else if (process.execve) process.execve(pinnedNode, [pinnedNode, ...words], process.env);
else runUnder(pinnedNode);

/** Its folder, or undefined when it is not installed. */
function findPackage(name) {
  try {
    return dirname(require.resolve(`${name}/package.json`));
  } catch {
    return undefined;
  }
}

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
