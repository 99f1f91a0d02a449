import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

/** Stands for an edge: starts the process, and has it ask a policy that never gives the event loop back, or not. */
const parent = `
const { fork } = require("node:child_process");
const [program, file, from] = process.argv.slice(1);
const child = fork(program, { serialization: "advanced" });
child.on("message", (message) => {
  if (message.is === "loaded") child.send({ ask: 1, policy: 0, transaction: { on: "mail", from } });
  if (message.is === "begun") console.log(child.pid);
  if (message.is === "unloadable") console.log(message.reason);
});
child.send({ load: [{ file }], logLevel: "info" });`;

for (const deed of ["somebody", "never.mail", "hang.mail"]) {
  test(`an edge that is killed leaves no process behind, whatever it did: ${deed}`, async () => {
    const program = join(import.meta.dirname, "policy-process.ts");
    const file = join(import.meta.dirname, "testing/trouble.ts");
    const edge = spawn(process.execPath, ["-e", parent, program, file, `${deed}@example.org`], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const pid = Number(await once(edge.stdout, "data"));
    assert.ok(pid, "its policy does not load");
    assert.ok(existsSync(`/proc/${pid}`));
    edge.kill("SIGKILL");
    for (let waited = 0; existsSync(`/proc/${pid}`); waited += 50) {
      if (waited > 30_000) {
        process.kill(pid, "SIGKILL");
        assert.fail("it lives on");
      }
      await sleep(50);
    }
  });
}
