import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { workerFiles } from "./worker-files.ts";

const root = mkdtempSync(join(tmpdir(), "millrace-files-"));
after(() => rmSync(root, { recursive: true }));
let made = 0;

/** A folder with these files, each with the text it is given. */
function folderOf(files: Record<string, string>): string {
  const folder = join(root, String(++made));
  mkdirSync(join(folder, "src"), { recursive: true });
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
  return folder;
}

for (const [what, files, expected] of [
  ["the package's main", { "package.json": '{"main":"mine.ts"}', "mine.ts": "", "worker.ts": "" }, "mine.ts"],
  ["worker.ts", { "package.json": "{}", "worker.ts": "", "a.worker.ts": "" }, "worker.ts"],
  ["the only *.worker.ts", { "src/a.worker.ts": "", "b.ts": "" }, "src/a.worker.ts"],
] as const) {
  test(`without a name it is ${what}`, () => {
    const folder = folderOf(files);
    assert.deepEqual(workerFiles([], folder), [join(folder, expected)]);
  });
}

test("named files are run, each once", () => {
  const folder = folderOf({ "a.ts": "", "b.ts": "" });
  assert.deepEqual(workerFiles(["./b.ts", "a.ts", "b.ts"], folder), [
    join(folder, "b.ts"),
    join(folder, "a.ts"),
  ]);
});

for (const [what, named, files, reason] of [
  ["a file that is not there", ["x.ts"], {}, /^x\.ts: there is no such file$/],
  ["no worker", [], { "a.ts": "" }, /there is no worker here: name its file/],
  [
    "more than one",
    [],
    { "a.worker.ts": "", "b.worker.ts": "" },
    /more than one worker here: a\.worker\.ts, b\.worker\.ts/,
  ],
  ["a broken package.json", [], { "package.json": "{" }, /^package\.json cannot be read/],
] as const) {
  test(`${what} is said`, () => {
    assert.throws(() => workerFiles(named, folderOf(files)), { name: "CommandError", message: reason });
  });
}
