import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, test } from "node:test";

const workspace = resolve(import.meta.dirname, "../../..");
const command = join(workspace, "services/cli/bin/millrace.mjs");
const folder = mkdtempSync(join(tmpdir(), "millrace-new-"));
after(() => rmSync(folder, { recursive: true }));

function run(program: string, args: string[], cwd = folder) {
  // Under a test runner `node --test` takes itself for a child of that, and reports to it.
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  return spawnSync(program, args, { cwd, env, encoding: "utf8" });
}
const newWorker = (...args: string[]) => run(process.execPath, [command, "new", "worker", ...args]);

test("a folder is made whose sources type-check and whose test passes", { timeout: 120_000 }, () => {
  const made = newWorker("pdf-saver");
  assert.equal(made.status, 0, made.stderr);
  assert.match(made.stdout, /cd pdf-saver\n {2}npm install\n {2}npm test\n {2}npx millrace dev/);
  const own = join(folder, "pdf-saver");
  assert.deepEqual(readdirSync(own).sort(), [
    ...[".dockerignore", ".gitignore", "Dockerfile", "README.md", "millrace.config.yaml"],
    ...["package.json", "pdf-saver.test.ts", "pdf-saver.ts", "tsconfig.json"],
  ]);
  for (const file of readdirSync(own))
    assert.doesNotMatch(readFileSync(join(own, file), "utf8"), /\{\{|\}\}$/m);
  const { dependencies } = JSON.parse(readFileSync(join(own, "package.json"), "utf8"));
  assert.deepEqual(Object.keys(dependencies), ["@millrace/pipeline"]);

  // What npm would install is what this workspace has.
  symlinkSync(join(workspace, "node_modules"), join(own, "node_modules"));
  const types = run(join(workspace, "node_modules/.bin/tsc"), [], own);
  assert.equal(types.status, 0, types.stdout);
  const tests = run(process.execPath, ["--test", "--test-reporter=tap"], own);
  assert.equal(tests.status, 0, tests.stdout);
  assert.match(tests.stdout, /^# pass 2$/m);
});

test("its tools are those of this workspace", () => {
  const template = join(import.meta.dirname, "template/package.json.template");
  const { devDependencies } = JSON.parse(readFileSync(template, "utf8"));
  const ours = JSON.parse(readFileSync(join(workspace, "package.json"), "utf8")).devDependencies;
  for (const [name, version] of Object.entries(devDependencies)) assert.equal(version, ours[name], name);
});

for (const [name, reason] of [
  ["Invoices", /"Invoices" cannot be a worker's name: give lower case letters/],
  ["../up", /"\.\.\/up" cannot be a worker's name/],
  ["deliver", /deliver is Millrace's own: choose another name/],
] as const) {
  test(`${name} is refused as a name, and nothing is made`, () => {
    const before = readdirSync(folder);
    const { status, stderr } = newWorker(name, "--dir", "elsewhere");
    assert.equal(status, 2);
    assert.match(stderr, reason);
    assert.deepEqual(readdirSync(folder), before);
  });
}

test("a folder that is there is left as it is", () => {
  mkdirSync(join(folder, "taken"));
  const { status, stderr } = newWorker("taken");
  assert.equal(status, 1);
  assert.match(stderr, /taken is there already: choose another name, or another folder with --dir/);
  assert.deepEqual(readdirSync(join(folder, "taken")), []);
  assert.equal(newWorker("taken", "--dir", "elsewhere").status, 0);
  assert.ok(existsSync(join(folder, "elsewhere/taken/taken.ts")));
});
