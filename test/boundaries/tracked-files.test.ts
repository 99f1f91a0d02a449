import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { test } from "node:test";

const root = resolve(import.meta.dirname, "../..");

/** Marks of one developer's machine, none of which means anything on another. Written so as not to find itself. */
const localMarks = [
  new RegExp(`(^|[\\s"'\`=:(])/(${["work", "home/[a-z]", "Users/[A-Z]"].join("|")})[/a-z]`),
  new RegExp(["shared", "(hooks|guide)/"].join("/")),
  new RegExp(["shared", "(DESIGN|STYLE|FACTS)"].join("/")),
];

test("package-lock.json names no registry but npm's own", () => {
  const { packages } = readLock();
  const foreign = Object.entries(packages)
    .filter(([, { resolved }]) => resolved?.includes("://"))
    .filter(([, { resolved }]) => !resolved?.startsWith("https://registry.npmjs.org/"))
    .map(([path, { resolved }]) => `${path}: ${resolved}`);
  assert.deepEqual(foreign, []);
});

// npm leaves out a platform's package when the registry at hand has not got it, and `npm ci` then refuses the file.
test("package-lock.json has an entry for every platform's package", () => {
  const { packages } = readLock();
  const missing = Object.entries(packages).flatMap(([path, { optionalDependencies = {} }]) =>
    Object.keys(optionalDependencies).filter(
      (name) => !packages[`node_modules/${name}`] && !packages[`${path}/node_modules/${name}`],
    ),
  );
  assert.deepEqual(missing, []);
});

test("no file in the repository names the machine it was written on", (t) => {
  if (!existsSync(join(root, ".git"))) return t.skip("not a git checkout: there is no list of tracked files");
  const files = execFileSync("git", ["ls-files", "-z", "--cached", "--others", "--exclude-standard"], {
    cwd: root,
    encoding: "utf8",
  });
  const found: string[] = [];
  for (const file of files.split("\0").filter(Boolean)) {
    if (!existsSync(join(root, file))) continue;
    const text = readFileSync(join(root, file), "utf8");
    if (text.includes("\0")) continue;
    text.split("\n").forEach((line, i) => {
      if (localMarks.some((mark) => mark.test(line)))
        found.push(`${file}:${i + 1}: ${line.trim().slice(0, 100)}`);
    });
  }
  assert.deepEqual(found, []);
});

function readLock() {
  return JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8")) as {
    packages: Record<string, { resolved?: string; optionalDependencies?: Record<string, string> }>;
  };
}
