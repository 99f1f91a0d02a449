import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { holdDataFolder } from "./data-folder.ts";

const folder = mkdtempSync(join(tmpdir(), "millrace-data-"));
const file = join(folder, "up.pid");
after(() => rmSync(folder, { recursive: true }));

test("the folder is held by a file with our pid, and nothing else is left in it", () => {
  const release = holdDataFolder(folder);
  assert.equal(readFileSync(file, "utf8"), `${process.pid}\n`);
  assert.deepEqual(readdirSync(folder), ["up.pid"]);
  release();
  assert.ok(!existsSync(file));
});

for (const [what, content] of [
  ["of a process that is gone", "4194305\n"],
  // The pid file is not fsynced, so that a power cut leaves it empty, or full of zeros.
  ["that a power cut has emptied", ""],
  ["that a power cut has filled with zeros", "\0\0\0\0"],
] as const) {
  test(`a file ${what} holds nobody up`, () => {
    writeFileSync(file, content);
    holdDataFolder(folder)();
  });
}
