import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { startRedis, type TestRedis } from "@millrace/test/redis";

let redis: TestRedis;
const cwd = mkdtempSync(join(tmpdir(), "millrace-user-"));
before(async () => {
  redis = await startRedis();
});
after(async () => {
  await redis?.stop();
  await rm(cwd, { recursive: true, force: true });
});

interface Ended {
  status: number;
  stdout: string;
  stderr: string;
}

/** Runs `millrace user …` with this on its standard input. */
function user(words: string[], input = "", env: Record<string, string> = {}): Promise<Ended> {
  const command = join(import.meta.dirname, "../bin/millrace.mjs");
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      [command, "user", ...words],
      { cwd, env: { PATH: process.env.PATH, REDIS_URL: redis.url, ...env } },
      (error, stdout, stderr) => resolve({ status: error ? Number(error.code) : 0, stdout, stderr }),
    );
    child.stdin?.end(input);
  });
}

test("users are added, listed, given another password and removed; the password comes from standard input", async () => {
  const added = await user(
    ["add", "Ann", "--reverse-path", "*@example.com", "--reverse-path", "<>"],
    "pass word\n",
  );
  assert.equal(added.status, 0, added.stderr);
  assert.equal(added.stdout, "added ann\n");
  assert.match(added.stderr, /SMTP_ENABLE_AUTH=true/);
  const again = await user(["add", "ann"], "other\n");
  assert.equal(again.status, 1);
  assert.match(again.stderr, /there is a user ann already/);

  const { stdout } = await user(["list", "--json"]);
  const [listed] = JSON.parse(stdout);
  assert.equal(listed.name, "ann");
  assert.deepEqual(listed.reversePaths, ["*@example.com", "<>"]);
  assert.doesNotMatch(stdout, /argon2|pass word/);
  assert.match((await user(["list"])).stdout, /ann .*\*@example\.com, <>/);

  assert.equal((await user(["passwd", "ann"], "new")).stdout, "changed the password of ann\n");
  assert.equal((await user(["remove", "ann"])).stdout, "removed ann\n");
  for (const words of [
    ["remove", "ann"],
    ["passwd", "ann"],
  ]) {
    const gone = await user(words, "x");
    assert.equal(gone.status, 1);
    assert.match(gone.stderr, /there is no user ann/);
  }
});

test("the reverse-paths of a user are replaced, or lifted; nothing given changes nothing", async () => {
  const listed = async () => JSON.parse((await user(["list", "--json"])).stdout)[0];
  await user(["add", "eve", "--reverse-path", "*@example.com"], "x");
  const before = await listed();
  const changed = await user(["paths", "Eve", "--reverse-path", "eve@example.com", "--reverse-path", "<>"]);
  assert.equal(changed.stdout, "eve may send from eve@example.com, <>\n", changed.stderr);
  assert.deepEqual(await listed(), { ...before, reversePaths: ["eve@example.com", "<>"] });
  for (const words of [[], ["--any", "--reverse-path", "*@example.com"]]) {
    const unclear = await user(["paths", "eve", ...words]);
    assert.equal(unclear.status, 2);
    assert.match(unclear.stderr, /give either --reverse-path <pattern>.* or --any/);
  }
  assert.notEqual((await user(["paths", "eve", "--reverse-path", "a b"])).status, 0);
  assert.deepEqual((await listed()).reversePaths, ["eve@example.com", "<>"]);
  assert.equal((await user(["paths", "eve", "--any"])).stdout, "eve may send from any address\n");
  assert.deepEqual((await listed()).reversePaths, []);
  const nobody = await user(["paths", "nobody", "--any"]);
  assert.deepEqual([nobody.status, /there is no user nobody/.test(nobody.stderr)], [1, true]);
  await user(["remove", "eve"]);
});

test("what can be no user, password or reverse-path is refused, and nothing is kept", async () => {
  for (const [words, input] of [
    [["add", "a b"], "x"],
    [["add", "bob"], ""],
    [["add", "bob"], "\n"],
    [["add", "bob"], "x".repeat(1_001)],
    [["add", "bob", "--reverse-path", "a b"], "x"],
    [["add", "bob", "secret"], "x"],
  ] as const)
    assert.notEqual((await user([...words], input)).status, 0, words.join(" "));
  assert.deepEqual(JSON.parse((await user(["list", "--json"])).stdout), []);
  assert.equal((await user(["list"], "", { REDIS_URL: "redis://127.0.0.1:1" })).status, 69);
});

test("where a file has the users, a line for it is made, and none is added here", async () => {
  const line = await user(["hash", "Bob", "--reverse-path", "*@example.com"], "x\n");
  assert.match(line.stdout, /^bob:\$argon2id\$v=19\$m=19456,t=2,p=1\$[^:]+:\*@example\.com\n$/);
  const file = join(cwd, "file.config.json");
  writeFileSync(file, JSON.stringify({ auth: { file: "./users" } }));
  const refused = await user(["add", "bob"], "x", { MILLRACE_CONFIG: file });
  assert.equal(refused.status, 1);
  assert.match(refused.stderr, /users are kept in .*users/);
});
