import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, describe, test } from "node:test";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import type { WorkerDefinition } from "@millrace/pipeline";
import { mail, type RunResult, runWorker } from "@millrace/pipeline/testing";

const root = resolve(import.meta.dirname, "../..");
const guide = readFileSync(join(root, "libs/pipeline/README.md"), "utf8");
const run = promisify(execFile);

/** The guide's samples, by the name in their first line. */
function samples(): Map<string, string> {
  const found = new Map<string, string>();
  for (const [, code = ""] of guide.matchAll(/^```ts\n(.*?)^```$/gms)) {
    const name = /^\/\/ (\S+\.ts)$/m.exec(code)?.[1];
    assert.ok(name, `a sample begins with its name: ${code.slice(0, 60)}`);
    found.set(name, code);
  }
  return found;
}

describe("the guide to workers", () => {
  const folder = mkdtempSync(join(tmpdir(), "millrace-guide-"));
  const files = samples();
  for (const [name, code] of files) writeFileSync(join(folder, name), code);
  symlinkSync(join(root, "node_modules"), join(folder, "node_modules"));
  writeFileSync(join(folder, "package.json"), JSON.stringify({ type: "module" }));
  const base = JSON.parse(readFileSync(join(root, "tsconfig.json"), "utf8")) as { compilerOptions: object };
  writeFileSync(
    join(folder, "tsconfig.json"),
    JSON.stringify({ compilerOptions: base.compilerOptions, include: ["*.ts"] }),
  );
  after(() => rmSync(folder, { recursive: true }));

  const worker = async (name: string) =>
    ((await import(pathToFileURL(join(folder, name)).href)) as { default: WorkerDefinition }).default;
  const runSample = async (name: string, message = mail("invoice"), config?: unknown): Promise<RunResult> => {
    const here = process.cwd();
    const out = join(folder, "out");
    mkdirSync(out, { recursive: true });
    // As in a user's folder: what a sample writes goes there.
    process.chdir(out);
    try {
      return await runWorker(await worker(name), message, config === undefined ? {} : { config });
    } finally {
      process.chdir(here);
    }
  };

  test("every sample is sound TypeScript", { timeout: 120_000 }, async () => {
    assert.deepEqual(
      [...files.keys()],
      [
        ...["invoices.ts", "orders.ts", "forward.ts", "charge.ts", "thank.ts"],
        ...["charge.test.ts", "pipeline.test.ts"],
      ],
    );
    const tsc = join(root, "node_modules/.bin/tsc");
    await run(tsc, ["--noEmit", "-p", folder]).catch(({ stdout }: { stdout: string }) => assert.fail(stdout));
  });

  test("the worker in ten lines writes the PDF", async () => {
    const { outcome, message } = await runSample("invoices.ts");
    assert.equal(outcome, "done");
    assert.match(readFileSync(join(folder, "out", `${message}-0.pdf`), "latin1"), /^%PDF-/);
    assert.equal((await runSample("invoices.ts", mail("plain"))).outcome, "unwanted");
  });

  test("the filter and the configuration do what they say", async () => {
    const order = [
      ...["From: a@example.net", "Subject: An order", "MIME-Version: 1.0"],
      ...[
        'Content-Type: text/csv; name="order.csv"',
        'Content-Disposition: attachment; filename="order.csv"',
      ],
      ...["", "1;2", ""],
    ].join("\r\n");
    const sent = mail(Buffer.from(order), { from: "a@example.net", recipients: ["x@in.example.com"] });
    const { outcome, logs } = await runSample("orders.ts", sent);
    assert.equal(outcome, "done");
    assert.deepEqual([logs[0]?.msg, logs[0]?.days], ["would order", 3]);
    assert.equal((await runSample("orders.ts")).outcome, "unwanted");
  });

  test("errors end as the sample says", async () => {
    let status = 200;
    const server = createServer((_, response) => response.writeHead(status, { "retry-after": "7" }).end());
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    const config = { api: `http://127.0.0.1:${(server.address() as AddressInfo).port}/` };
    const ends: unknown[] = [];
    for (status of [200, 429, 422, 500]) {
      const { outcome, failure, retryIn } = await runSample("forward.ts", mail("plain"), config);
      ends.push([outcome, failure?.message, retryIn === undefined ? "never" : retryIn >= 2_500]);
    }
    server.closeAllConnections();
    server.close();
    assert.deepEqual(ends, [
      ["done", undefined, "never"],
      ["failed", "busy", true],
      ["failed", "refused for good", "never"],
      ["failed", "HTTP 500", true],
    ]);
  });

  test("the samples' own tests pass", { timeout: 180_000 }, async () => {
    const names = [...files.keys()].filter((name) => name.endsWith(".test.ts"));
    const env = { ...process.env, NODE_TEST_CONTEXT: undefined };
    const { stdout } = await run(process.execPath, ["--test", ...names], { cwd: folder, env }).catch(
      ({ stdout }: { stdout: string }) => assert.fail(stdout),
    );
    assert.match(stdout, /pass 2\n/);
  });
});
