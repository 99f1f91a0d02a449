import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterEach, beforeEach, describe, test } from "node:test";
import { openMailStore } from "./open-mail-store.ts";
import { storeItem } from "./suite/fixtures.ts";

describe("several processes", () => {
  let directory: string;
  let children: ChildProcess[];
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "millrace-store-"));
    children = [];
  });
  afterEach(async () => {
    for (const child of children) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      child.kill("SIGKILL");
      await once(child, "exit");
    }
    await rm(directory, { recursive: true, force: true });
  });

  /** Starts a writer and collects the ids it has reported as durable. */
  function startWriter(batches: number, size: number) {
    const script = join(import.meta.dirname, "suite", "writing-process.ts");
    const child = spawn(process.execPath, [script, directory, String(batches), String(size)], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    children.push(child);
    const acknowledged: string[] = [];
    const lines = createInterface({ input: child.stdout });
    lines.on("line", (line) => acknowledged.push(...line.split(" ")));
    const ended = Promise.all([once(child, "exit"), once(lines, "close")]).then(([[code]]) => code);
    return { child, acknowledged, lines, ended };
  }

  test("two that write and one that reads: every row a reader sees has its blob, every entry is there once", async () => {
    const writers = [startWriter(15, 8), startWriter(15, 8)];
    const reader = openMailStore({ directory, readOnly: true });
    let running = true;
    const ends = Promise.all(writers.map(({ ended }) => ended)).finally(() => {
      running = false;
    });
    let seen = 0;
    while (running) {
      for (const { id, size } of reader.list({ limit: 30 })) {
        assert.ok((await reader.read(id)).length > size);
        seen++;
      }
      await new Promise(setImmediate);
    }
    assert.deepEqual(await ends, [0, 0]);
    assert.ok(seen > 0, "the reader saw nothing while they wrote");
    assert.equal(reader.counts().stored, 240);
    assert.deepEqual(
      reader
        .list({ limit: 500 })
        .map(({ id }) => id)
        .sort(),
      writers.flatMap(({ acknowledged }) => acknowledged).sort(),
    );
    const seqs = reader.journal("01jz0000000000000000000000").map(({ seq }) => seq);
    assert.deepEqual(
      seqs,
      Array.from({ length: 30 }, (_, n) => `1785000000000-${n + 1}`),
    );
    reader.close();
  });

  test("a writer killed in the middle: what it had reported is there, and every row has its blob", async () => {
    const writer = startWriter(10_000, 16);
    while (writer.acknowledged.length < 64) await once(writer.lines, "line");
    writer.child.kill("SIGKILL");
    await writer.ended;
    const store = openMailStore({ directory });
    const rows = store.list({ limit: 1_000_000 });
    for (const { id } of rows) await store.read(id);
    const there = new Set(rows.map(({ id }) => id));
    assert.deepEqual(
      writer.acknowledged.filter((id) => !there.has(id)),
      [],
    );
    assert.equal(store.counts().stored, rows.length);
    await store.put([storeItem()]);
    store.close();
  });
});
