import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type FileWatch, watchFiles } from "./watch-files.ts";

let folder: string;
let watch: FileWatch;
let saved: string[];
const path = (name: string) => join(folder, name);
/** Waits for the save of a file, which must be the next one that is told. */
async function expectSave(name: string): Promise<void> {
  for (const end = Date.now() + 10_000; saved.length === 0; ) {
    assert.ok(Date.now() < end, `nothing was told of ${name}`);
    await sleep(5);
  }
  assert.equal(saved.shift(), path(name));
}

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "millrace-watch-"));
  saved = [];
  watch = watchFiles((file) => saved.push(file));
  for (const name of ["a.ts", "b.ts"]) writeFileSync(path(name), "old");
});
afterEach(() => {
  watch.close();
  rmSync(folder, { recursive: true });
});

test("a save is told once, whether the file is written or another one takes its place", async () => {
  watch.add([path("a.ts")]);
  writeFileSync(path("b.ts"), "not watched");
  writeFileSync(path("a.ts"), "");
  writeFileSync(path("a.ts"), "new");
  await expectSave("a.ts");
  writeFileSync(path("a.ts~"), "newer");
  renameSync(path("a.ts~"), path("a.ts"));
  await expectSave("a.ts");
  assert.deepEqual(saved, []);
});

test("a change of rights is no save", async () => {
  watch.add([path("a.ts"), path("b.ts")]);
  chmodSync(path("a.ts"), 0o600);
  writeFileSync(path("b.ts"), "new");
  await expectSave("b.ts");
});

test("a file that is not there yet is told of when it is made", async () => {
  watch.add([path("missing.ts")]);
  writeFileSync(path("missing.ts"), "there");
  await expectSave("missing.ts");
});

test("files are watched by what they are called", async () => {
  watch.addNames(folder, (name) => name.startsWith(".env"));
  writeFileSync(path("other"), "x");
  writeFileSync(path(".env.local"), "x");
  await expectSave(".env.local");
});
