import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { DeadLetter } from "@millrace/mailstore";
import type { AuditReport } from "@millrace/pipeline/runtime";
import { makeSample } from "@millrace/pipeline/samples";
import { Installation, type Started } from "../support/millrace.ts";
import { mail, sendAll } from "../support/sender.ts";
import { until } from "../support/until.ts";

const file = resolve(import.meta.dirname, "../fixtures/save-pdfs.ts");

interface WorkerRow {
  worker: string;
  state: string;
  waiting: number;
  active: number;
  delayed: number;
  oldestMs: number | null;
  versions: string[];
  where: unknown;
  processes: { done: number }[];
}

describe("a worker of a user's own", () => {
  let millrace: Installation;
  let running: Started | undefined;
  const out = (name: string) => {
    const folder = join(millrace.folder, name);
    mkdirSync(folder, { recursive: true });
    return folder;
  };
  const start = (folder: string) => {
    millrace.env.SAVE_PDFS_FOLDER = folder;
    running = millrace.start(["worker", file]);
    return running;
  };
  const row = () => millrace.json<WorkerRow>("workers", "show", "save-pdfs");
  const audit = async () => (await millrace.json<AuditReport>("audit")).holds;
  const invoice = (name: string) => {
    const sample = makeSample("invoice", { to: ["in@example.com"] });
    assert.ok(sample);
    return { name, raw: sample.raw, from: sample.from, to: sample.recipients };
  };
  const invoices = (count: number) =>
    sendAll(
      millrace.port,
      Array.from({ length: count }, (_, i) => invoice(`i-${i}`)),
    );
  const pdfs = (folder: string) => readdirSync(folder).filter((name) => name.endsWith(".pdf"));

  before(async () => {
    millrace = new Installation();
    await millrace.up();
  });
  after(async () => {
    await running?.stop();
    await millrace.remove();
  });

  test("killed at random instants, it does each effect once, or says that it cannot know", {
    timeout: 240_000,
  }, async () => {
    const folder = out("killed");
    start(folder);
    await until(() => running?.output().includes('"msg":"ready"') === true);
    await running?.stop();
    const sent = [...(await invoices(300)).values()];
    await sendAll(millrace.port, [mail("no attachment", "in@example.com")]);
    await until(async () => (await row()).waiting === 300);
    for (let kills = 0; kills < 3; kills++) {
      const saved = pdfs(folder).length + 1 + Math.random() * 30;
      start(folder);
      // Those that a killed one had in hand are free when their locks have run out: the next one goes on with others.
      while (pdfs(folder).length < saved) await sleep(1);
      await running?.end("SIGKILL");
      assert.ok(pdfs(folder).length < 300, "killed too late: all was done");
    }
    start(folder);
    await until(async () => {
      const { waiting, active, delayed } = await row();
      return waiting + active + delayed === 0;
    }, 120_000);
    assert.deepEqual(pdfs(folder).sort(), sent.map((id) => `${id}-0.pdf`).sort());
    const told = readFileSync(join(folder, "told"), "utf8").split("\n").filter(Boolean);
    assert.equal(new Set(told).size, told.length, "each told once");
    await until(audit);
    const letters = await millrace.json<DeadLetter[]>("dead-letters", "list", "--worker", "save-pdfs");
    for (const { error } of letters) assert.match(error, /may have happened or not/);
    const unclear = letters.map(({ message }) => message);
    assert.deepEqual(
      sent.filter((id) => !told.includes(id) && !unclear.includes(id)),
      [],
    );
  });

  test("what comes while it is down waits for it; paused it stands still; its figures are told", {
    timeout: 120_000,
  }, async () => {
    await running?.stop();
    const folder = out("later");
    await invoices(5);
    // A process that was killed counts as running until its last sign of life is old.
    await until(async () => (await row()).state === "down" && (await row()).waiting === 5);
    const down = await row();
    assert.deepEqual(down.where, { attachment: ["application/pdf"] });
    assert.ok(down.oldestMs !== null && down.oldestMs >= 0);

    await millrace.run(["workers", "pause", "save-pdfs"]);
    start(folder);
    await until(() => running?.output().includes('"msg":"ready"') === true);
    await sleep(1_000);
    assert.deepEqual(pdfs(folder), []);
    assert.equal((await row()).state, "paused");
    const resumed = await millrace.run(["workers", "resume", "save-pdfs"]);
    assert.match(resumed.stdout.toString(), /save-pdfs goes on: 5 pieces of work wait/);
    await until(() => pdfs(folder).length === 5);
    await until(async () => (await row()).processes.some(({ done }) => done === 5));
    const { stdout } = await millrace.run(["workers"]);
    assert.match(stdout.toString(), /save-pdfs +running +0 +0 +0 /);
  });

  test("it is back-filled over stored mail; only what it wants is run", { timeout: 120_000 }, async () => {
    await running?.stop();
    const folder = out("history");
    start(folder);
    const all = await millrace.run(["replay", "--all", "--worker", "save-pdfs", "--yes", "--json"]);
    assert.equal(all.status, 0, all.stderr);
    const told = () => readFileSync(join(folder, "told"), "utf8").split("\n").filter(Boolean).length;
    await until(async () => (await row()).processes.some(({ done }) => done === 305));
    assert.deepEqual([pdfs(folder).length, told()], [305, 305]);
  });

  test("removed, it drops what waits for it and says so; the pipeline's own can't be", {
    timeout: 120_000,
  }, async () => {
    await running?.stop();
    await invoices(7);
    await until(async () => (await row()).waiting === 7);
    const removed = await millrace.json<{ dropped: number }>("workers", "remove", "save-pdfs", "--yes");
    assert.equal(removed.dropped, 7);
    assert.ok(await audit());
    const gone = await millrace.run(["workers", "show", "save-pdfs"]);
    assert.match(gone.stderr, /no worker "save-pdfs" has subscribed here: those that have are .*parse/);
    const refused = await millrace.run(["workers", "remove", "store", "--yes"]);
    assert.equal(refused.status, 2);
    // What it once was does not keep mail from its way.
    await invoices(1);
    await until(audit);
  });
});
