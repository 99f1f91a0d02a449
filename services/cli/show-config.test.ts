import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";

const cwd = mkdtempSync(join(tmpdir(), "millrace-config-"));
after(() => rm(cwd, { recursive: true, force: true }));

/** Runs `millrace config --json` on this configuration. */
function shown(config: object): { status: number | null; stdout: string; stderr: string } {
  writeFileSync(join(cwd, "millrace.config.json"), JSON.stringify(config));
  const command = join(import.meta.dirname, "bin/millrace.mjs");
  const { PATH } = process.env;
  return spawnSync(process.execPath, [command, "config", "--json"], {
    cwd,
    env: { PATH },
    encoding: "utf8",
  });
}

test("an open relay is warned of in one line beside the configuration, which stands alone on standard output", () => {
  const listeners = [{ name: "mx", host: "0.0.0.0", port: 2525 }];
  const routes = [{ recipients: "*", to: { smtp: "smtp://smarthost.test" } }];
  const { status, stdout, stderr } = shown({ listeners, routes });
  assert.equal(status, 0);
  assert.deepEqual(JSON.parse(stdout).routes[0].recipients, ["*"]);
  assert.match(
    stderr,
    /^millrace: warning: routes\[0\] takes "\*" and leads to smtp smarthost\.test: .*mx \(0\.0\.0\.0:2525\).*\n$/,
  );
  assert.equal(shown({ listeners: [{ port: 2525 }], routes }).stderr, "");
});
