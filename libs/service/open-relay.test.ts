import assert from "node:assert/strict";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { loadConfig } from "./config.ts";
import { openRelays } from "./open-relay.ts";

const smarthost = { smtp: "smtp://me:s3cret@smarthost.test:587" };

/** The lines for these routes, on an edge with this environment. */
async function lines(
  routes: { recipients: string | string[]; to: unknown }[],
  env: Record<string, string> = { SMTP_HOST: "0.0.0.0" },
): Promise<string[]> {
  const root = mkdtempSync(join(tmpdir(), "millrace-relay-"));
  writeFileSync(join(root, "millrace.config.json"), JSON.stringify({ routes }));
  return openRelays(await loadConfig(env, root));
}

test("a route for any domain to a mail server is told of, with its place, its value and the cure", async () => {
  const to = [{ maildir: "./mail" }, smarthost];
  const [line, ...more] = await lines([
    { recipients: "*@example.com", to: { lmtp: "127.0.0.1:24" } },
    { recipients: ["sales@example.com", "*"], to },
  ]);
  assert.deepEqual(more, []);
  assert.match(
    line ?? "",
    /^routes\[1\] takes "\*" and leads to smtp smarthost\.test:587: .*listener smtp \(0\.0\.0\.0:2525\).*open relay; .*relay/,
  );
  assert.doesNotMatch(line ?? "", /s3cret|\n/);
  assert.match((await lines([{ recipients: "*", to: { lmtp: "/run/lmtp" } }])).join(), /lmtp \/run\/lmtp/);
});

test("a pattern is for any domain when its domain is anybody's", async () => {
  for (const pattern of ["*", "*@*", "sales@*", "sales*", "*@*.com", "*@mail.*"])
    assert.equal((await lines([{ recipients: pattern, to: smarthost }])).length, 1, pattern);
  for (const pattern of ["a@b.test", "*@example.com", "*@*.example.com", "sales+*@example.com"])
    assert.deepEqual(await lines([{ recipients: pattern, to: smarthost }]), [], pattern);
});

test("it is none where the mail stays here, where no stranger comes, and where the route is never reached", async () => {
  const everything = [{ recipients: "*", to: smarthost }];
  for (const to of [{ maildir: "./mail" }, { webhook: "https://app.test/" }])
    assert.deepEqual(await lines([{ recipients: "*", to }]), []);
  for (const SMTP_HOST of ["127.0.0.1", "::1", "localhost"])
    assert.deepEqual(await lines(everything, { SMTP_HOST }), []);
  assert.deepEqual(await lines([{ recipients: "*", to: { maildir: "./mail" } }, ...everything]), []);
  // A proxy on this machine brings everybody.
  assert.equal((await lines(everything, { SMTP_PROXY_PROTOCOL_FROM: "127.0.0.1" })).length, 1);
  assert.equal((await lines(everything, { SMTP_TLS_MODE: "proxy" })).length, 1);
});
