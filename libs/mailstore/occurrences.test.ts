import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Occurrences } from "./occurrences.ts";

test("counts each text in a file of any size, across the borders of what is read at once, without regard to case", async () => {
  const folder = await mkdtemp(join(tmpdir(), "millrace-scan-"));
  const path = join(folder, "file");
  const octets = Buffer.alloc(3_200_000, "\0");
  for (const at of [0, 1_048_576 - 5, 2_097_152 - 14, 2_097_152, 3_200_000 - 15])
    octets.write("Zora@Example.com", at);
  octets.write("zora@example.com", 500);
  await writeFile(path, octets);
  const found = new Occurrences(["zora@example.com", "jürgen@x"]);
  assert.equal(await found.addFile(path), 3_200_000);
  // One is overwritten by the next, one is cut off by the end.
  assert.deepEqual(found.count, [4, 0]);
  assert.equal(await found.addFile(join(folder, "none")), 0);
  await rm(folder, { recursive: true });
});
