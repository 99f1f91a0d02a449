import assert from "node:assert/strict";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { ConfigError, loadConfig, printableConfig } from "./config.ts";

const folder = () => mkdtempSync(join(tmpdir(), "millrace-config-"));

async function problemsOf(env: Record<string, string>, root: string): Promise<readonly string[]> {
  try {
    await loadConfig(env, root);
  } catch (error) {
    assert.ok(error instanceof ConfigError);
    return error.problems;
  }
  return [];
}

test("without anything set, every recipient has a Maildir under ./var and Redis is our own", async () => {
  const root = folder();
  const config = await loadConfig({}, root);
  assert.equal(config.settings.SMTP_PORT, 2525);
  assert.deepEqual(config.routes, [
    { recipients: ["*"], to: [{ maildir: `${root}/var/maildir/{recipient}` }] },
  ]);
  assert.equal(config.redisUrl, `unix://${root}/var/redis/redis.sock`);
  assert.ok(config.redisIsOurs);
});

test("a wrong value is named with its key, itself and what is allowed; all of them at once", async () => {
  const problems = await problemsOf(
    { SMTP_PORT: "70000", LOG_LEVEL: "loud", SMTP_ENABLE_TLS: "maybe" },
    folder(),
  );
  assert.equal(problems.length, 3);
  assert.match(problems.join("\n"), /SMTP_PORT="70000".*0 to 65535.*leave it out for 2525/);
  assert.match(problems.join("\n"), /LOG_LEVEL="loud".*one of trace/);
});

test("AUTH cannot be switched on by a name this version does not honour", async () => {
  assert.match((await problemsOf({ SMTP_ENABLE_AUTH: "true" }, folder())).join(), /no AUTH/);
  assert.deepEqual(await problemsOf({ SMTP_ENABLE_AUTH: "false" }, folder()), []);
});

test("TLS without a certificate is refused: there is no default key", async () => {
  const problems = await problemsOf({ SMTP_ENABLE_TLS: "true", SMTP_TLS_KEY: "/nowhere.pem" }, folder());
  assert.match(problems.join("\n"), /SMTP_TLS_CERT is not set/);
  assert.match(problems.join("\n"), /SMTP_TLS_KEY=\/nowhere.pem: there is no such file/);
});

test("the file is found by its name, secrets come from the environment, and neither is printed", async () => {
  const root = folder();
  const yaml =
    'hostname: mx.test\nroutes:\n  - recipients: "*"\n    to: { webhook: "https://u:pw@app.test/", secret: "env:HOOK" }\n';
  writeFileSync(join(root, "millrace.config.yaml"), yaml);
  const config = await loadConfig({ HOOK: "s3cret", REDIS_URL: "redis://u:pw2@h:1" }, root);
  assert.deepEqual(config.routes[0]?.to, [{ webhook: "https://u:pw@app.test/", secret: "s3cret" }]);
  const printed = JSON.stringify(printableConfig(config));
  for (const secret of ["s3cret", "pw@", "pw2"]) assert.ok(!printed.includes(secret), secret);
  assert.match((await problemsOf({}, root)).join(), /env:HOOK, which is not set/);
});

test("a TypeScript file is read as it is", async () => {
  const root = folder();
  writeFileSync(join(root, "millrace.config.ts"), 'export default { hostname: "ts.test" as string };\n');
  assert.equal((await loadConfig({}, root)).hostname, "ts.test");
});

test("what is wrong in the file is named by its path and value", async () => {
  const root = folder();
  writeFileSync(
    join(root, "millrace.config.json"),
    '{"routes":[{"recipients":"*","to":{"maildr":"/x"}}],"hostnam":1}',
  );
  const problems = (await problemsOf({}, root)).join("\n");
  assert.match(problems, /routes\[0\]\.to\[0\] = .*: a target is one of/);
  assert.match(problems, /hostnam/);
  writeFileSync(join(root, "millrace.config.json"), "{");
  assert.match((await problemsOf({}, root)).join(), /millrace.config.json cannot be read/);
  assert.match(
    (await problemsOf({ MILLRACE_CONFIG: "gone.yaml" }, root)).join(),
    /gone.yaml: there is no such file/,
  );
});
