import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { routeSchema, targetsOf } from "@millrace/mail";
import { startRedis, type TestRedis } from "@millrace/test/redis";
import { startTestEdge, type TestEdge } from "./testing/test-edge.ts";
import { addUsers, authenticate } from "./testing/users.ts";

const env = { SMTP_ENABLE_AUTH: "true", SMTP_TLS_MODE: "proxy", SMTP_MAX_ERRORS: "1000" };
const relay = { smtp: "smtp://smarthost.example.net:587" };
const routes = [routeSchema.parse({ recipients: "*@example.com", to: { maildir: "/nowhere" } })];

let redis: TestRedis;
let edge: TestEdge;
before(async () => {
  redis = await startRedis();
  await addUsers(redis.url, {
    ann: { password: "a" },
    bob: { password: "b", reversePaths: ["bob@example.com", "*@news.example.com"] },
    mda: { password: "m", reversePaths: ["<>"] },
  });
  edge = await startTestEdge(redis.url, { env, relay });
});
after(async () => {
  await edge?.end();
  await redis?.stop();
});

/** Sends a message to whoever of the recipients is taken; undefined when nobody is. */
async function sent(recipients: string[], { from = "a@example.org", who = "" } = {}) {
  const client = await edge.client();
  if (who) await authenticate(client, who, who.slice(0, 1));
  await client.send(`MAIL FROM:${`<${from}>`}`);
  const replies = [await client.expect("")];
  for (const recipient of recipients) {
    await client.send(`RCPT TO:${recipient}`);
    replies.push(await client.expect(""));
  }
  await client.send("DATA");
  const begun = await client.expect("");
  let manifest: Awaited<ReturnType<TestEdge["stored"]>>["manifest"] | undefined;
  if (begun.startsWith("354 ")) {
    await client.send("x", ".");
    manifest = (await edge.stored(await client.expect("250 2.0.0 "))).manifest;
  }
  client.destroy();
  return { replies, manifest };
}

describe("nobody relays without AUTH: whatever the recipient looks like, nothing leaves", () => {
  const refused = [
    "<user@elsewhere.example>",
    "<USER@ELSEWHERE.EXAMPLE>",
    "<@example.com:user@elsewhere.example>",
    "<@example.com,@mx.example.test:user@elsewhere.example>",
    "<@elsewhere.example,@example.com:user@elsewhere.example>",
    "<user%example.com@elsewhere.example>",
    "<user%elsewhere.example>",
    "<user@elsewhere.example@example.com>",
    "<user@example.com@elsewhere.example>",
    '<"user@example.com"@elsewhere.example>',
    '<"user"@elsewhere.example>',
    '<"user@elsewhere.example">',
    "<elsewhere.example!user>",
    "<example.com!user@elsewhere.example>",
    "<user@[192.0.2.1]>",
    "<user@[127.0.0.1]>",
    "<user@[IPv6:2001:db8::1]>",
    "<user@192.0.2.1>",
    "<user@localhost>",
    "<user@mx.example.test>",
    "<user@example.com.elsewhere.example>",
    "<user@elsewhereexample.com>",
    "<user@sub.example.com>",
    "<user@example.com.>",
    "<user@example.com\t@elsewhere.example>",
    "<user@example.com> <user@elsewhere.example>",
    "<user@example.com>,<user@elsewhere.example>",
    "<user@example.com,user@elsewhere.example>",
    "<user@elsewhere.example>example.com",
    "user@elsewhere.example",
    "<user;user@elsewhere.example>",
    "<user:user@elsewhere.example>",
    "<postmaster@elsewhere.example>",
    "<postmaster%elsewhere.example>",
    "<>",
  ];
  for (const from of ["a@example.org", "", "user@example.com"]) {
    for (const recipient of refused) {
      test(`${recipient} from <${from}>`, async () => {
        const { replies, manifest } = await sent([recipient], { from });
        assert.match(replies[0] as string, /^250 2\.1\.0 /);
        assert.match(replies[1] as string, /^5\d\d 5\.\d\.\d /);
        assert.equal(manifest, undefined);
      });
    }
  }

  // What is left of the @ means nothing to us: these are mailboxes of our own domain, and go where its route leads.
  const own = {
    "<user%elsewhere.example@example.com>": "user%elsewhere.example@example.com",
    "<elsewhere.example!user@example.com>": "elsewhere.example!user@example.com",
    "<@elsewhere.example:user@example.com>": "user@example.com",
    '<"user@elsewhere.example"@example.com>': undefined,
    '<"user%elsewhere.example"@example.com>': undefined,
  };
  for (const [recipient, mailbox] of Object.entries(own)) {
    test(`${recipient} stays with the route of its domain`, async () => {
      const { replies, manifest } = await sent([recipient]);
      if (mailbox !== undefined) assert.deepEqual(manifest?.envelope.recipients, [mailbox]);
      if (!manifest) {
        assert.match(replies[1] as string, /^5\d\d 5\.\d\.\d /);
        return;
      }
      const { envelope } = manifest;
      assert.equal(envelope.user, null);
      for (const address of envelope.recipients) assert.match(address, /@example\.com$/);
      const { targets, unrouted } = targetsOf({ routes, relay }, envelope, envelope.recipients);
      assert.deepEqual([targets.map(({ transport }) => transport), unrouted], [["maildir"], []]);
    });
  }
});

test("after a failed AUTH, nobody relays either", async () => {
  const client = await edge.client();
  await authenticate(client, "ann", "wrong", "535 ");
  await client.send("MAIL FROM:<a@example.org>", "RCPT TO:<user@elsewhere.example>");
  await client.expect("250 2.1.0 ");
  await client.expect("550 5.1.1 ");
  client.destroy();
});

test("an authenticated user sends anywhere, through the relay; to our own recipients as the routes lead", async () => {
  const recipients = ["user@elsewhere.example", "user@[192.0.2.1]", "user@example.com"];
  const { manifest } = await sent(
    recipients.map((each) => `<${each}>`),
    { who: "ann" },
  );
  assert.deepEqual(manifest?.envelope.recipients, recipients);
  assert.equal(manifest?.envelope.user, "ann");
  const { targets, unrouted } = targetsOf({ routes, relay }, manifest?.envelope ?? assert.fail(), recipients);
  assert.deepEqual(
    targets.map((target) => [target.transport, target.recipients]),
    [
      ["smtp", recipients.slice(0, 2)],
      ["maildir", recipients.slice(2)],
    ],
  );
  assert.deepEqual(unrouted, []);
});

test("an address without a domain is nothing to relay", async () => {
  const { replies, manifest } = await sent(["<user>", "<postmaster>"], { who: "ann" });
  for (const reply of replies.slice(1)) assert.match(reply, /^5/);
  assert.equal(manifest, undefined);
});

test("a user with reverse-paths uses no other, the null one neither, whoever the mail is for", async () => {
  for (const from of ["bob@example.com", "BOB@example.com", "list-1@news.example.com"])
    assert.ok((await sent(["<user@elsewhere.example>"], { who: "bob", from })).manifest, from);
  for (const from of ["ann@example.com", "bob@example.org", "a@news.example.com.evil.example", ""]) {
    const { replies, manifest } = await sent(["<user@example.com>"], { who: "bob", from });
    assert.match(replies[0] as string, /^553 5\.7\.1 /, from);
    assert.equal(manifest, undefined);
  }
  assert.ok((await sent(["<user@elsewhere.example>"], { who: "mda", from: "" })).manifest);
  assert.match((await sent([], { who: "mda" })).replies[0] as string, /^553 5\.7\.1 /);
});

test("without a relay, users send where the routes lead and nowhere else", async (t) => {
  const alone = await startTestEdge(redis.url, { env });
  t.after(() => alone.end());
  const client = await alone.client();
  await authenticate(client, "ann", "a");
  await client.send(
    "MAIL FROM:<a@example.org>",
    "RCPT TO:<user@elsewhere.example>",
    "RCPT TO:<user@example.com>",
  );
  await client.expect("250 2.1.0 ");
  await client.expect("550 5.1.1 ");
  await client.expect("250 2.1.5 ");
  client.destroy();
});

test("who has authenticated is forgotten with the connection; RSET and EHLO change nothing", async () => {
  const client = await edge.client();
  await authenticate(client, "ann", "a");
  await client.send(
    "RSET",
    "EHLO client.example",
    "MAIL FROM:<a@example.org>",
    "RCPT TO:<user@elsewhere.example>",
  );
  for (const reply of ["250", "250", "250 2.1.0 ", "250 2.1.5 "]) await client.expect(reply);
  client.destroy();
  const next = await edge.client();
  await next.send("MAIL FROM:<a@example.org>", "RCPT TO:<user@elsewhere.example>");
  await next.expect("250 2.1.0 ");
  await next.expect("550 5.1.1 ");
  next.destroy();
});
