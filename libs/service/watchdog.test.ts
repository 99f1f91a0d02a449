import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { after, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";

/** Runs a script in a process with a watchdog of two seconds. */
function run(script: string): ChildProcess {
  const watchdog = JSON.stringify(new URL("watchdog.ts", import.meta.url).href);
  const source = `const { startWatchdog } = await import(${watchdog}); startWatchdog(2, "test"); ${script}`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", source], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  // A test that fails must not leave a process behind that turns for ever.
  after(() => child.kill("SIGKILL"));
  return child;
}

test("a process whose event loop stands still is killed, and says why", { timeout: 30_000 }, async () => {
  const child = run("for (;;);");
  const said = text(child.stderr as NonNullable<typeof child.stderr>);
  const [, signal] = await once(child, "exit");
  assert.equal(signal, "SIGKILL");
  assert.match(await said, /the event loop stood still for 2 s \(WATCHDOG_SECONDS\)/);
});

test("it says in which line of which file a loop does not end", { timeout: 30_000 }, async () => {
  const folder = mkdtempSync(join(tmpdir(), "millrace-watchdog-"));
  after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "spin.mjs");
  writeFileSync(file, "export function spin() {\n  for (;;) Math.random();\n}\n");
  const child = run(`(await import(${JSON.stringify(pathToFileURL(file).href)})).spin();`);
  const said = await text(child.stderr as NonNullable<typeof child.stderr>);
  assert.match(said, /"at":"[^"]*spin\.mjs:2:\d+"/);
});

test("one that waits, or works in pieces, is left alone, and ends when it has nothing to do", {
  timeout: 30_000,
}, async () => {
  const child = run(`
    for (let i = 0; i < 8; i++) {
      const until = Date.now() + 500;
      while (Date.now() < until);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }`);
  assert.deepEqual(await once(child, "exit"), [0, null]);
});

test("one that was stopped and goes on is left alone", { timeout: 30_000 }, async () => {
  const child = run(
    "process.stdout.write('ready'); await new Promise((resolve) => setTimeout(resolve, 6_000));",
  );
  await once(child.stdout as NonNullable<typeof child.stdout>, "data");
  child.kill("SIGSTOP");
  await sleep(4_000);
  child.kill("SIGCONT");
  assert.deepEqual(await once(child, "exit"), [0, null]);
});
