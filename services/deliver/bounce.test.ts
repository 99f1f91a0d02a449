import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import { type Envelope, localProtocol, routeSchema, type Target } from "@millrace/mail";
import { until } from "@millrace/test/until";
import { type Delivering, delivered, startDelivering } from "./testing/delivering.ts";
import type { DeliveryRequest, RecipientOutcome, Transport } from "./transport.ts";

const raw = "Received: from x by us\r\nSubject: hello\r\nMessage-ID: <1@b.test>\r\n\r\nthe body\r\n";
const relay = { smtp: "smtp://smarthost.test" };
const retry = { delays: [10], jitter: 0 };
const route = (recipients: string, lmtp: string, onFailure?: "dsn" | "dead-letter") => ({
  ...routeSchema.parse({ recipients, to: { lmtp }, ...(onFailure ? { onFailure } : {}) }),
  retry,
});
const routes = [
  route("*@telling.test", "telling:24", "dsn"),
  route("*@silent.test", "silent:24", "dead-letter"),
  route("*@default.test", "default:24"),
  route("*@us.test", "us:24"),
];

let delivering: Delivering;
/** What was delivered, by the local part of its recipient. */
const inbox = new Map<string, { envelope: Envelope; raw: string; target: string }>();
let answer: (recipient: string) => Partial<RecipientOutcome>;

const never = () => ({
  result: "failed" as const,
  reply: "550 5.1.1 no such user",
  code: "550",
  status: "5.1.1",
});

function scripted(target: Target): Transport {
  return {
    async deliver({ recipients, manifest, read }: DeliveryRequest) {
      if (/us:24|smarthost/.test(target.label) && !recipients.some((each) => each.startsWith("gone"))) {
        const mail = { envelope: manifest.envelope, raw: (await read()).toString(), target: target.label };
        for (const recipient of recipients) inbox.set(recipient, mail);
        return recipients.map(delivered);
      }
      return recipients.map((recipient) => ({ ...delivered(recipient), ...answer(recipient) }));
    },
    async close() {},
  };
}

before(async () => {
  delivering = await startDelivering({ routes, relay, openTransport: scripted, keepBodies: true });
});
beforeEach(() => {
  inbox.clear();
  answer = never;
});
after(() => delivering.stop());

let count = 0;
/** Sends from an address of its own; resolves with it and the last thing that is told of the delivery. */
async function send(recipients: string[], envelope: Partial<Envelope> = {}) {
  const from = envelope.from ?? `sender${++count}@us.test`;
  const id = await delivering.accept(recipients, { ...envelope, from }, raw);
  const entries = await delivering.ending(id);
  return { id, from, last: entries.at(-1), events: entries.map(({ event }) => event) };
}

/** The DSN a sender has got. */
async function dsnOf(sender: string) {
  await until(() => inbox.has(sender));
  return inbox.get(sender) as { envelope: Envelope; raw: string; target: string };
}

test("a route that says so tells the sender: the job is done, and the DSN goes its way like any other message", async () => {
  const { id, from, last, events } = await send(["bob@telling.test"]);
  assert.deepEqual(events, ["delivery.failed", "delivery.bounced"]);
  const { envelope, raw: dsn } = await dsnOf(from);
  assert.deepEqual(
    [envelope.from, envelope.recipients, envelope.protocol, envelope.helo, envelope.client, envelope.user],
    ["", [from], localProtocol, "mx.test", { ip: "127.0.0.1", port: 0 }, null],
  );
  assert.match(dsn, new RegExp(`^To: <${from}>\r$`, "m"));
  assert.match(dsn, /^Final-Recipient: rfc822; bob@telling\.test\r\nAction: failed\r\nStatus: 5\.1\.1\r$/m);
  assert.match(dsn, /^Remote-MTA: dns; telling\r\nDiagnostic-Code: smtp; 550 5\.1\.1 no such user\r$/m);
  assert.match(dsn, /^Subject: hello\r$/m);
  assert.doesNotMatch(dsn, /the body/);
  assert.match(dsn, new RegExp(`^X-Millrace-Original: ${id}\r$`, "m"));

  const journal = await delivering.pipeline.journal.of(String(last?.data.dsn));
  assert.deepEqual([journal[0]?.event, journal[0]?.worker], ["message.received", "deliver"]);
});

test("mail taken in makes a dead letter by default, and where the route says so; an authenticated user is told", async () => {
  const user = "ann";
  for (const [recipient, envelope, end] of [
    ["bob@default.test", {}, "job.dead"],
    ["bob@default.test", { user }, "delivery.bounced"],
    ["bob@silent.test", { user }, "job.dead"],
    ["bob@telling.test", {}, "delivery.bounced"],
  ] as const) {
    const { last } = await send([recipient], envelope);
    assert.equal(last?.event, end, `${recipient} ${JSON.stringify(envelope)}`);
  }
});

test("case 40: nobody is told of mail with the null reverse-path, and so never of a DSN", async () => {
  assert.equal((await send(["bob@telling.test"], { from: "", user: "ann" })).last?.event, "job.dead");
  // The sender's own mailbox is gone: the DSN fails, and that is the end of it.
  const { last } = await send(["bob@telling.test"], { from: "gone@us.test" });
  assert.equal(last?.event, "delivery.bounced");
  const entries = await delivering.ending(String(last?.data.dsn));
  assert.equal(entries.at(-1)?.event, "job.dead");
});

test("a sender no route leads to is told by way of the relay, which takes our DSNs and users' mail only", async () => {
  const { from } = await send(["bob@telling.test"], { from: "ann@elsewhere.test" });
  assert.equal((await dsnOf(from)).target, "smtp:smtp://smarthost.test");

  const relayed = await send(["x@elsewhere.test"], { user: "ann" });
  assert.deepEqual(relayed.events, ["delivery.succeeded"]);
  assert.equal(inbox.get("x@elsewhere.test")?.target, "smtp:smtp://smarthost.test");
  const foreign = await send(["y@elsewhere.test"]);
  assert.deepEqual(foreign.events, ["job.dead"]);
  assert.ok(!inbox.has("y@elsewhere.test"));
});

test("without a way to the sender the job is a dead letter", async () => {
  const alone = await startDelivering({ routes, openTransport: scripted, keepBodies: true });
  try {
    const id = await alone.accept(["bob@telling.test"], { from: "ann@elsewhere.test" }, raw);
    assert.equal((await alone.ending(id)).at(-1)?.event, "job.dead");
  } finally {
    await alone.stop();
  }
});

test("one DSN tells of every recipient of the target that has not got it, with the last words to each", async () => {
  answer = (recipient) => {
    if (recipient.startsWith("ok")) return {};
    return recipient.startsWith("never")
      ? never()
      : { result: "deferred", reply: "451 4.3.0 later", code: "451", status: "4.3.0" };
  };
  const { from, last } = await send(["ok@telling.test", "never@telling.test", "later@telling.test"]);
  assert.deepEqual(last?.data.recipients, ["never@telling.test", "later@telling.test"]);
  const groups = (await dsnOf(from)).raw
    .split("\r\n\r\n")
    .filter((part) => part.startsWith("Final-Recipient"));
  assert.equal(groups.length, 2);
  assert.match(groups[0] ?? "", /never@telling\.test.*Status: 5\.1\.1.*550 5\.1\.1 no such user/s);
  assert.match(groups[1] ?? "", /later@telling\.test.*Status: 4\.3\.0.*451 4\.3\.0 later/s);
});

test("trouble of our own is not the sender's: the job is a dead letter", async () => {
  answer = () => {
    throw Object.assign(new Error("disk full"), { code: "ENOSPC" });
  };
  const { from, last } = await send(["bob@telling.test"]);
  assert.equal(last?.event, "job.dead");
  const taken = (await delivering.pipeline.journal.after("0-0", 10_000)).filter(
    ({ event, data }) => event === "message.received" && (data.recipients as string[]).includes(from),
  );
  assert.deepEqual(taken, [], "no DSN was made");
  assert.equal((last?.data.failure as { code: string } | undefined)?.code, "ENOSPC");
  assert.equal(last?.data.label, "lmtp:telling:24", "and it is known whose delivery it was");
});

test("a sender with an address beyond ASCII is told in an SMTPUTF8 transaction", async () => {
  const { from } = await send(["bob@telling.test"], { from: "zoë@us.test", smtputf8: true });
  const { envelope, raw: dsn } = await dsnOf(from);
  assert.equal(envelope.smtputf8, true);
  assert.match(dsn, /^\p{ASCII}*$/u);
});
