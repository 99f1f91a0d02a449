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

test("whoever is exempt from limits is an address or a network", async () => {
  assert.deepEqual(await problemsOf({ SMTP_LIMIT_EXEMPT: "10.0.0.0/8, 2001:db8::1" }, folder()), []);
  assert.match(
    (await problemsOf({ SMTP_LIMIT_EXEMPT: "10.0.0.0/8,relay.example.com" }, folder())).join("\n"),
    /^SMTP_LIMIT_EXEMPT=relay\.example\.com is not allowed: give addresses and networks/,
  );
});

test("AUTH is refused where no session could ever be secure", async () => {
  const SMTP_ENABLE_AUTH = "true";
  assert.match(
    (await problemsOf({ SMTP_ENABLE_AUTH }, folder())).join(),
    /SMTP_ENABLE_AUTH=true.*SMTP_TLS_MODE/,
  );
  assert.deepEqual(await problemsOf({ SMTP_ENABLE_AUTH: "false" }, folder()), []);
  assert.deepEqual(await problemsOf({ SMTP_ENABLE_AUTH, SMTP_TLS_MODE: "proxy" }, folder()), []);
  assert.deepEqual(await problemsOf({ SMTP_ENABLE_AUTH, SMTP_PROXY_PROTOCOL_FROM: "::1" }, folder()), []);
});

test("auth names a file, from the configuration's folder, or an address; its secret is not printed", async () => {
  const root = folder();
  const write = (auth: unknown) =>
    writeFileSync(join(root, "millrace.config.json"), JSON.stringify({ auth }));
  write({ file: "./users" });
  assert.deepEqual((await loadConfig({}, root)).auth, { file: join(root, "users") });
  write({ http: "https://u:pw1@auth.test/", secret: "s3cret", timeout: "2s" });
  const config = await loadConfig({}, root);
  assert.deepEqual(config.auth, { http: "https://u:pw1@auth.test/", secret: "s3cret", timeout: 2_000 });
  assert.doesNotMatch(JSON.stringify(printableConfig(config)), /s3cret|pw1/);
  write({ ldap: "x" });
  assert.match((await problemsOf({}, root)).join(), /auth = .*: auth is \{ file:/);
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

test("policies are files or HTTP services, each with a time box; secrets are not printed", async () => {
  const root = folder();
  const policies = [
    { file: "./a.ts", options: { senders: ["x"] }, timeout: "2s", onError: "accept" },
    { http: "https://u:pw@policy.test/", on: "rcpt", timeout: 250, cache: "60s", secret: "s3cret" },
  ];
  writeFileSync(join(root, "millrace.config.json"), JSON.stringify({ policies }));
  const config = await loadConfig({}, root);
  assert.deepEqual(config.policies, [
    { file: `${root}/a.ts`, options: { senders: ["x"] }, timeout: 2_000, onError: "accept" },
    { http: "https://u:pw@policy.test/", on: ["rcpt"], timeout: 250, cache: 60_000, secret: "s3cret" },
  ]);
  const printed = JSON.stringify(printableConfig(config));
  for (const secret of ["s3cret", "pw@"]) assert.ok(!printed.includes(secret), secret);
});

test("what is wrong with a policy is named by its key", async () => {
  const cases: [unknown, RegExp][] = [
    [{ file: "./a.ts", tiemout: 5 }, /policies\[0\] = .*"tiemout"/],
    [{ http: "https://policy.test/", on: ["rcpt"], options: {} }, /policies\[0\] = .*"options"/],
    [{ file: "./a.ts", onError: "reject" }, /policies\[0\]\.onError = "reject": .*"defer"\|"accept"/],
    [{ file: "./a.ts", timeout: "2m" }, /policies\[0\]\.timeout = "2m": .*a minute at most/],
    [{ file: "./a.ts", timeout: 0 }, /policies\[0\]\.timeout = 0: a duration/],
    [{ http: "https://policy.test/", on: ["helo"] }, /policies\[0\]\.on\[0\] = "helo"/],
    [{ http: "ftp://policy.test/", on: "mail" }, /policies\[0\]\.http/],
    [{ http: "https://policy.test/" }, /policies\[0\]\.on/],
    [{ url: "https://policy.test/" }, /policies\[0\] = .*a policy is \{ file/],
  ];
  for (const [policy, problem] of cases) {
    const root = folder();
    writeFileSync(join(root, "millrace.config.json"), JSON.stringify({ policies: [policy] }));
    assert.match((await problemsOf({}, root)).join("\n"), problem);
  }
});
