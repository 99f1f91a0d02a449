import assert from "node:assert/strict";
import { mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { linkKey } from "./link-key.ts";

const folder = await mkdtemp(join(tmpdir(), "millrace-key-"));
after(() => rm(folder, { recursive: true }));

test("link key: whoever comes at the same time gets the same key, and it stays", async () => {
  const data = join(folder, "not/there/yet");
  const keys = await Promise.all(Array.from({ length: 20 }, () => linkKey(data)));
  keys.push(await linkKey(data));
  assert.equal(keys[0]?.length, 32);
  for (const key of keys) assert.ok(key.equals(keys[0] as Buffer));
  assert.deepEqual(await readdir(data), ["link.key"]);
  assert.equal((await stat(join(data, "link.key"))).mode & 0o777, 0o600);
});

test("link key: each installation has its own", async () => {
  assert.ok(!(await linkKey(join(folder, "a"))).equals(await linkKey(join(folder, "b"))));
});

test("link key: a file that holds no key is an error that says what to do", async () => {
  await writeFile(join(folder, "link.key"), "short");
  await assert.rejects(linkKey(folder), /link\.key holds 5 octets instead of 32: remove it/);
});
