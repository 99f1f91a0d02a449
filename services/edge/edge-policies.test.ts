import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { PolicyTransaction } from "@millrace/pipeline";
import { journalTail } from "@millrace/pipeline/runtime";
import { type PolicyConfig, patientRedis } from "@millrace/service";
import { startRedis, type TestRedis } from "@millrace/test/redis";
import type { SmtpDialogue } from "@millrace/test/smtp-dialogue";
import { beginMessage, startTestEdge, type TestEdge } from "./testing/test-edge.ts";

const file = (name: string) => join(import.meta.dirname, "policies/testing", name);
const trouble: PolicyConfig = { file: file("trouble.ts") };

let redis: TestRedis;
let edge: TestEdge;
const ends: (() => Promise<void>)[] = [];
before(async () => {
  redis = await startRedis();
  edge = await start([trouble]);
});
after(async () => {
  for (const end of ends) await end();
  await redis.stop();
});

async function start(policies: PolicyConfig[], env: Record<string, string> = {}): Promise<TestEdge> {
  const started = await startTestEdge(redis.url, { policies, env: { POLICY_HEAP_MB: "48", ...env } });
  ends.push(() => started.end());
  return started;
}

/** Milliseconds no reply takes, even on a loaded machine. */
const patience = 30_000;

/** The replies to MAIL, RCPT, DATA and the final dot, up to the first refusal; all commands are sent at once. */
async function replies(on: TestEdge, deed: string): Promise<string[]> {
  const client = await on.client();
  const heard: string[] = [];
  await client.send(`MAIL FROM:<${deed}@example.org>`, "RCPT TO:<user@example.com>");
  for (let i = 0; i < 2; i++) heard.push(await client.expect("", patience));
  if (heard.every((reply) => reply.startsWith("250 "))) {
    await client.send("DATA");
    await client.expect("354 ");
    await client.send("Subject: hello", "", "words", ".");
    heard.push(await client.expect("", patience));
  }
  client.destroy();
  return heard.filter((reply) => reply.startsWith("250 2.0.0") || !reply.startsWith("250 "));
}

async function send(on: TestEdge, deed: string): Promise<string> {
  return (await replies(on, deed))[0] ?? "";
}

async function logged(on: TestEdge, msg: string, beside: Record<string, unknown> = {}) {
  const fits = (line: Record<string, unknown>) =>
    line.msg === msg && Object.entries(beside).every(([key, value]) => line[key] === value);
  await eventually(() => on.log.some(fits), `"${msg}" is logged`, on);
  return on.log.find(fits) as Record<string, unknown>;
}

async function eventually(condition: () => boolean | Promise<boolean>, what: string, on = edge) {
  for (const started = performance.now(); performance.now() - started < 30_000; await sleep(20)) {
    if (await condition()) return;
  }
  assert.fail(`it never came about that ${what}\n${on.log.map((line) => JSON.stringify(line)).join("\n")}`);
}

/** Sends until it is accepted, as a sending server would. */
function acceptsAgain(on: TestEdge): Promise<void> {
  return eventually(
    async () => (await send(on, "somebody")).startsWith("250 2.0.0 "),
    "mail is accepted",
    on,
  );
}

const messages = async () => (await edge.spool.backlog()).messages;

test("a policy accepts, and the client notices nothing", async () => {
  assert.match(await send(edge, "somebody"), /^250 2\.0\.0 Ok: queued as /);
  assert.match(await send(edge, "later.data"), /^250 2\.0\.0 Ok: queued as /);
});

test("a policy refuses at MAIL, at RCPT and after the final dot, for good or for now", async () => {
  const before = await messages();
  for (const stage of ["mail", "rcpt", "data"]) {
    assert.match(await send(edge, `reject.${stage}`), /^554 5\.7\.9 Not wanted$/, stage);
    assert.match(await send(edge, `defer.${stage}`), /^450 4\.7\.1 Come again$/, stage);
  }
  assert.equal(await messages(), before);
  const line = await logged(edge, "refused", { policy: "trouble", from: "reject.rcpt@example.org" });
  assert.equal(line.recipient, "user@example.com");
});

test("a message that is refused after its final dot leaves nothing in the spool", async () => {
  const client = patientRedis(redis.url);
  try {
    await send(edge, "reject.data");
    await sleep(50);
    const keys = await client.keys("*");
    const { message } = await logged(edge, "refused", { from: "reject.data@example.org" });
    assert.ok(message);
    assert.deepEqual(
      keys.filter((key) => key.includes(String(message))),
      [],
    );
  } finally {
    client.disconnect();
  }
});

test("after a 421 the connection is closed", async () => {
  const client = await edge.client();
  await client.send("MAIL FROM:<hangup.rcpt@example.org>", "RCPT TO:<user@example.com>");
  await client.expect("250 2.1.0 ");
  await client.expect("421 4.7.1 Go away");
  await client.expectClosed();
});

test("a pipelining client reads its replies in order, however long each decision takes", async () => {
  const client = await edge.client();
  await client.send(
    "MAIL FROM:<later.rcpt@example.org>",
    "RCPT TO:<a@example.com>",
    "RCPT TO:<b@elsewhere.test>",
    "RCPT TO:<c@example.com>",
    "NOOP",
    "DATA",
  );
  await client.expect("250 2.1.0 ");
  await client.expect("250 2.1.5 ");
  await client.expect("550 5.1.1 No such recipient here");
  await client.expect("250 2.1.5 ");
  await client.expect("250 2.0.0 OK");
  await client.expect("354 ");
  await client.send("words", ".", "MAIL FROM:<later.mail@example.org>", "RCPT TO:<d@example.com>", "QUIT");
  const { manifest } = await edge.stored(await client.expect("250 2.0.0 "));
  assert.deepEqual(manifest.envelope.recipients, ["a@example.com", "c@example.com"]);
  await client.expect("250 2.1.0 ");
  await client.expect("250 2.1.5 ");
  await client.expect("221 ");
});

test("tags of every stage reach the manifest and the journal", async () => {
  const untagged = await edge.stored(await send(edge, "somebody"));
  assert.equal("tags" in untagged.manifest.envelope, false);
  const client = await edge.client();
  const client2 = patientRedis(redis.url);
  try {
    for (const stage of ["mail", "rcpt", "data"]) {
      await beginMessage(client, { from: `tag.${stage}@example.org` });
      await client.send("words", ".");
      const { manifest } = await edge.stored(await client.expect("250 2.0.0 "));
      assert.deepEqual(manifest.envelope.tags, ["suspicious", `at-${stage}`]);
      const [received] = await journalTail(client2).of(manifest.id);
      assert.deepEqual(received?.data.tags, ["suspicious", `at-${stage}`]);
    }
    // The next transaction on the same connection begins without any.
    await beginMessage(client, { from: "somebody@example.org" });
    await client.send("words", ".");
    const { manifest } = await edge.stored(await client.expect("250 2.0.0 "));
    assert.equal(manifest.envelope.tags, undefined);
  } finally {
    client.destroy();
    client2.disconnect();
  }
});

test("a policy is told what is known at its moment", async () => {
  const told = async (stage: string) => {
    const client = await edge.client("mail.example");
    await beginMessage(client, { from: `tell.${stage}@example.org`, to: ["a@example.com", "b@example.com"] });
    await client.send("Subject: =?utf-8?q?gr=C3=BC=C3=9Fe?=", "Received: from x", "X-A: 1", "", "words", ".");
    const stored = await edge.stored(await client.expect("250 2.0.0 "));
    client.destroy();
    const lines = edge.log.filter(
      ({ msg, transaction }) => msg === "asked" && (transaction as PolicyTransaction).on === stage,
    );
    return { ...stored, asked: lines.map(({ transaction }) => transaction as PolicyTransaction), lines };
  };
  const { asked: atMail, lines } = await told("mail");
  const [mail] = atMail;
  assert.ok(mail?.session);
  assert.deepEqual([lines[0]?.policy, lines[0]?.session, lines[0]?.name], ["trouble", mail.session, "edge"]);
  assert.deepEqual(
    { ...mail, session: "", client: mail.client.ip },
    {
      on: "mail",
      session: "",
      client: "127.0.0.1",
      helo: "mail.example",
      protocol: "ESMTP",
      tls: null,
      user: null,
      from: "tell.mail@example.org",
      recipients: [],
      tags: [],
    },
  );
  const { asked: atRcpt } = await told("rcpt");
  assert.deepEqual(
    atRcpt.map((each) => each.on === "rcpt" && [each.recipient, each.recipients]),
    [
      ["a@example.com", []],
      ["b@example.com", ["a@example.com"]],
    ],
  );
  const { asked, manifest } = await told("data");
  const [data] = asked;
  assert.ok(data?.on === "data");
  const { message, size, sha256, hops, headers, recipients } = data;
  assert.deepEqual([message, size, sha256], [manifest.id, manifest.size, manifest.sha256]);
  assert.deepEqual(recipients, ["a@example.com", "b@example.com"]);
  assert.equal(hops, 1);
  assert.deepEqual(headers, [
    { name: "Subject", value: "gr\u00fc\u00dfe" },
    { name: "Received", value: "from x" },
    { name: "X-A", value: "1" },
  ]);
});

test("a text cannot break out of its reply, and is cut", async () => {
  for (const stage of ["mail", "rcpt", "data"]) {
    const heard = await replies(edge, `two.${stage}`);
    assert.match(heard[0] ?? "", /^550 5\.7\.1 first 250 2\.0\.0 Ok: queued as FORGED x+$/);
    assert.ok((heard[0] ?? "").length <= 510, `${heard[0]?.length} characters`);
    assert.ok(!heard.some((reply) => reply.startsWith("250 2.0.0")));
  }
});

test("a policy that throws or answers nonsense defers, and the log says who, what for and where", async () => {
  for (const stage of ["mail", "rcpt", "data"]) {
    assert.match(await send(edge, `throw.${stage}`), /^451 4\.3\.0 Temporary failure, try again later$/);
    const line = await logged(edge, "policy failed", { from: `throw.${stage}@example.org` });
    assert.deepEqual([line.policy, line.on, line.onError], ["trouble", stage, "defer"]);
    assert.ok(line.session);
    assert.equal(Boolean(line.message), stage === "data");
    const { at, stack } = line.err as Record<string, string>;
    assert.match(at ?? "", /policies\/testing\/trouble\.ts:\d+:\d+$/);
    assert.match(stack ?? "", /^RangeError: a bug of mine\n.*trouble\.ts:\d+:\d+/);
  }
  const said: [string, RegExp][] = [
    ["cry", /threw 'no Error at all', which is no Error/],
    ["rubbish", /answered \{ decision: 'perhaps' \}: a decision is what accept\(\), reject\(\)/],
    ["nothing", /answered undefined: a decision is/],
    ["wrongcode", /reject: `code` of a reject is a reply code from 510 to 599/],
  ];
  for (const [deed, words] of said) {
    assert.match(await send(edge, `${deed}.rcpt`), /^451 4\.3\.0 /);
    const { err } = await logged(edge, "policy failed", { from: `${deed}.rcpt@example.org` });
    assert.match((err as Error).message, words);
  }
});

test("process.exit in a policy is an error like any other, at once and later", async () => {
  assert.match(await send(edge, "exit.rcpt"), /^451 4\.3\.0 /);
  const { err } = await logged(edge, "policy failed", { from: "exit.rcpt@example.org" });
  assert.match((err as Error).message, /process\.exit\(1\): a policy has no process of its own/);
  assert.match((err as { at?: string }).at ?? "", /trouble\.ts:\d+/);
  const fresh = await start([trouble]);
  assert.match(await send(fresh, "exitlater.rcpt"), /^451 4\.3\.0 /);
  await logged(fresh, "policy process died");
  await acceptsAgain(fresh);
});

test("a policy that never decides is told so, and costs nobody else anything", async () => {
  const [overdue, others] = await Promise.all([
    send(edge, "never.rcpt"),
    Promise.all(Array.from({ length: 5 }, () => send(edge, "somebody"))),
  ]);
  assert.match(overdue, /^451 4\.3\.0 /);
  assert.ok(others.every((reply) => reply.startsWith("250 2.0.0 ")));
  await logged(edge, "aborted");
  const { err } = await logged(edge, "policy failed", { from: "never.rcpt@example.org" });
  assert.equal((err as Error).message, "no decision within 1.5 s");
  await sleep(1_500);
  assert.ok(!edge.log.some(({ msg }) => msg === "policy process died"));
});

for (const deed of ["hang", "stand", "heap", "buffers", "flood"]) {
  for (const onError of ["defer", "accept"] as const) {
    test(`a policy that does ${deed} is answered for (${onError}); the edge and the next go on`, async () => {
      // What eats memory is ended for that, long before its time is over.
      const eats = deed === "heap" || deed === "buffers";
      const fresh = await start([{ ...trouble, onError, ...(eats ? { timeout: 20_000 } : {}) }]);
      const client = await fresh.client();
      let answered = false;
      const sending = send(fresh, `${deed}.rcpt`).finally(() => {
        answered = true;
      });
      // The edge's own thread is not touched by it.
      for (let noops = 0; noops < 3 || !answered; noops++) {
        await client.send("NOOP");
        await client.expect("250 2.0.0 ");
        await sleep(20);
      }
      if (onError === "defer") assert.match(await sending, /^451 4\.3\.0 /);
      const line = await logged(fresh, "policy failed", { from: `${deed}.rcpt@example.org` });
      assert.deepEqual([line.policy, line.on, line.onError], ["trouble", "rcpt", onError]);
      const died = await logged(fresh, "policy process died");
      assert.deepEqual([died.policy, died.session, died.restartMs], ["trouble", line.session, 0]);
      const why = {
        heap: /ended with SIG|more memory than POLICY_HEAP_MB=48/,
        buffers: /more memory than POLICY_HEAP_MB=48/,
      };
      assert.match((died.err as Error).message, why[deed as "heap"] ?? /has not given the event loop back/);
      await acceptsAgain(fresh);
      // What the policy was asked next about the same message may have met with its process's end.
      if (onError === "accept") assert.match(await sending, /^250 2\.0\.0 /);
      client.destroy();
    });
  }
}

test("those that wait behind a policy that hangs are answered in their own time", async () => {
  const fresh = await start([trouble]);
  const started = performance.now();
  const [bad, ...others] = await Promise.all(
    ["hang.rcpt", ...Array.from({ length: 10 }, () => "somebody")].map(async (deed) => {
      const reply = await send(fresh, deed);
      return { reply, took: performance.now() - started };
    }),
  );
  assert.match(bad?.reply ?? "", /^451 4\.3\.0 /);
  for (const { reply, took } of others) {
    assert.match(reply, /^(451 4\.3\.0|250 2\.0\.0) /);
    assert.ok(took < 12_000, `${took} ms`);
  }
});

test("a process that dies again and again rests, and is answered for meanwhile", async () => {
  const fresh = await start([trouble]);
  const rests = () =>
    fresh.log.filter(({ msg }) => msg === "policy process died").map(({ restartMs }) => restartMs);
  for (const expected of [[0], [0, 250], [0, 250, 500], [0, 250, 500, 1_000]]) {
    const ready = await fresh.client();
    assert.match(await send(fresh, "exitlater.mail"), /^451 4\.3\.0 /);
    await eventually(() => rests().length === expected.length, "the process dies");
    assert.deepEqual(rests(), expected);
    await ready.send("MAIL FROM:<hasty@example.org>");
    const reply = await ready.expect("");
    if (expected.length === 4) assert.match(reply, /^451 4\.3\.0 /);
    ready.destroy();
    await acceptsAgain(fresh);
  }
  assert.ok(
    fresh.log.some(
      ({ msg, err }) =>
        msg === "policy failed" && /died 4 times in a row, and rests/.test((err as Error).message),
    ),
  );
});

test("the time of policies is not the time of the commit", async () => {
  const quick = await start([{ ...trouble, timeout: 6_000 }], { SMTP_COMMIT_TIMEOUT_SECONDS: "1" });
  assert.match(await send(quick, "seconds.data"), /^250 2\.0\.0 /);
});

test("a client that leaves while a policy decides harms nothing", async () => {
  for (const stage of ["mail", "rcpt", "data"]) {
    const client: SmtpDialogue = await edge.client();
    await client.send(`MAIL FROM:<later.${stage}@example.org>`, "RCPT TO:<user@example.com>", "DATA");
    if (stage === "data") {
      await client.expect("250 ");
      await client.expect("250 ");
      await client.expect("354 ");
      await client.send("words", ".");
    }
    await sleep(50);
    client.destroy();
  }
  await sleep(500);
  assert.match(await send(edge, "somebody"), /^250 2\.0\.0 /);
});

test("an edge that closes lets a policy's decision about a message come", async () => {
  const closing = await startTestEdge(redis.url, { policies: [trouble] });
  const client = await closing.client();
  await beginMessage(client, { from: "later.data@example.org" });
  await client.send("words", ".");
  await sleep(50);
  const ended = closing.end();
  await client.expect("250 2.0.0 ");
  await client.expect("421 4.3.2 ");
  await ended;
});

test("policies are asked in their order; the next sees the tags, and those of a refused recipient are gone", async () => {
  const several = await start([
    trouble,
    { file: file("options.ts"), options: { blocked: ["bad@example.org"], echo: true } },
  ]);
  const { manifest } = await several.stored(await send(several, "tag.mail"));
  assert.deepEqual(manifest.envelope.tags, ["suspicious", "at-mail", "seen-suspicious", "seen-at-mail"]);
  assert.match(await send(several, "bad"), /^550 5\.7\.1 Blocked$/);
});

test("a policy that does not load stops the start with one line that names it", async () => {
  const cases: [PolicyConfig, RegExp][] = [
    [{ file: file("missing.ts") }, /testing\/missing\.ts cannot be loaded: Cannot find module/],
    [{ file: file("unloadable/throws.ts") }, /unloadable\/throws\.ts cannot be loaded: no database/],
    [{ file: file("unloadable/exits.ts") }, /unloadable\/exits\.ts cannot be loaded: process\.exit\(3\)/],
    [{ file: file("unloadable/no-policy.ts") }, /no-policy\.ts has no policy as its default export: write/],
    [{ file: file("unloadable/wrong.ts") }, /wrong\.ts cannot be loaded: policy "Wrong Name": a name is/],
    [{ file: file("options.ts") }, /options\.ts: options\.blocked: .*expected array/],
    [
      { file: file("options.ts"), options: { blocked: [7] } },
      /options\.ts: options\.blocked\.0: .*expected string/,
    ],
  ];
  for (const [policy, words] of cases) {
    await assert.rejects(startTestEdge(redis.url, { policies: [trouble, policy] }), (error: Error) => {
      assert.equal(error.name, "StartError");
      assert.match(error.message, words);
      assert.ok(!error.message.includes("\n"), error.message);
      return true;
    });
  }
  const many = Array.from({ length: 5 }, () => ({ ...trouble, timeout: 60_000 }));
  await assert.rejects(startTestEdge(redis.url, { policies: many }), /may take 300 s together.*240 s/);
});
