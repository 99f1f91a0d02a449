import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { installTools } from "./system-packages.mjs";

/** A machine's PATH with an apt-get of ours, which writes down what it is told, and installs if `APT_WORKS`. */
let folder: string;
const asRoot = process.getuid?.() === 0;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "millrace-apt-"));
  const script = [
    "#!/bin/sh",
    `echo "$*" >> ${folder}/calls`,
    `[ -e /usr/sbin/policy-rc.d ] && echo "services forbidden" >> ${folder}/calls`,
    `[ -n "$APT_WORKS" ] && : > ${folder}/redis-server && exit 0`,
    "echo 'E: Unable to locate package' >&2",
    "exit 100",
  ];
  writeFileSync(join(folder, "apt-get"), `${script.join("\n")}\n`, { mode: 0o755 });
});
afterEach(() => rmSync(folder, { recursive: true }));

const said: string[] = [];
const install = (env: Record<string, string> = {}) =>
  installTools(["redis"], { PATH: folder, ...env }, (line) => said.push(line));
const calls = () => readFileSync(join(folder, "calls"), "utf8");

test("root gets Debian's package, with no question, and no service is started by it", {
  skip: !asRoot,
}, () => {
  const { missing, problem } = install({ APT_WORKS: "yes" });
  assert.deepEqual([missing, problem], [[], undefined]);
  assert.match(calls(), /install --no-install-recommends --no-remove redis-server\nservices forbidden\n/);
  assert.match(said.join(), /installing redis-server/);
});

test("what apt-get complains of is handed on", { skip: !asRoot }, () => {
  const { missing, problem } = install();
  assert.deepEqual(missing, ["redis"]);
  assert.match(String(problem), /Unable to locate package/);
});

test("anybody else reads the one command, and nothing is run", (t) => {
  t.mock.method(process as { getuid(): number }, "getuid", () => 1000);
  const { missing, cure, problem } = install({ APT_WORKS: "yes" });
  assert.deepEqual([missing, problem], [["redis"], undefined]);
  assert.equal(cure, "sudo apt-get install -y redis-server");
  assert.ok(!existsSync(join(folder, "calls")));
});
