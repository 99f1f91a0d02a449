import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { after, test } from "node:test";

/** Runs a service that stops when it is told to, as a supervisor does; `before` runs before it does anything else. */
function startSupervised(before: string, options: { stop?: string; stopWithin?: number } = {}) {
  const { stop = "async () => clearInterval(working)", ...rest } = options;
  const module = JSON.stringify(new URL("process.ts", import.meta.url).href);
  const source = `
    ${before}
    const { runService } = await import(${module});
    await runService("test", async () => {
      const working = setInterval(() => {}, 1_000);
      return { stop: ${stop} };
    }, ${JSON.stringify(rest)});`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", source], {
    env: { LOG_LEVEL: "silent" },
    stdio: ["ignore", "inherit", "inherit", "ipc"],
  });
  after(() => child.kill("SIGKILL"));
  return child;
}

test("a service stops in order when its supervisor is gone", { timeout: 30_000 }, async () => {
  const child = startSupervised("");
  assert.deepEqual(await once(child, "message"), [{ type: "ready" }, undefined]);
  child.disconnect();
  assert.deepEqual(await once(child, "exit"), [0, null]);
});

test("so does one whose supervisor went while it was being loaded", { timeout: 30_000 }, async () => {
  const child = startSupervised(`
    const gone = new Promise((resolve) => process.once("disconnect", resolve));
    process.send("loading");
    await gone;`);
  await once(child, "message");
  child.disconnect();
  assert.deepEqual(await once(child, "exit"), [0, null]);
});

test("one that does not come to an end is cut off, where it says that it may be", {
  timeout: 30_000,
}, async () => {
  const child = startSupervised("", { stop: "() => new Promise(() => {})", stopWithin: 200 });
  await once(child, "message");
  child.send({ type: "stop" });
  assert.deepEqual(await once(child, "exit"), [1, null]);
});
