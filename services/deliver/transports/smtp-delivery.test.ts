import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { Readable } from "node:stream";
import { test } from "node:test";
import { requestFor } from "./testing/request.ts";
import { atEnd, scripted, serverWith, transportTo } from "./testing/smtp-servers.ts";

test("smtp: a message arrives octet by octet, under our name, for all recipients at once", async () => {
  const { mails, port } = await serverWith();
  const raw = "Subject: dots\r\n\r\n.\r\n..two\r\nend without line end";
  const outcomes = await transportTo(port).deliver(requestFor({ raw, recipients: ["a@x.test", "b@x.test"] }));
  assert.deepEqual(outcomes, [
    {
      recipient: "a@x.test",
      result: "delivered",
      reply: "250 taken as 1",
      code: "250",
    },
    {
      recipient: "b@x.test",
      result: "delivered",
      reply: "250 taken as 1",
      code: "250",
    },
  ]);
  assert.equal(mails.length, 1);
  assert.equal(mails[0]?.raw, `${raw}\r\n`);
  assert.equal(mails[0]?.from, "from@example.com");
  assert.deepEqual(mails[0]?.to, ["a@x.test", "b@x.test"]);
  assert.equal(mails[0]?.helo, "mx.example.test");
});

test("smtp: a large message is streamed and arrives whole", async () => {
  const hash = createHash("sha256");
  const { port } = await serverWith({
    onData(stream, _session, done) {
      stream.on("data", (chunk) => hash.update(chunk)).on("end", () => done());
    },
  });
  const raw = Buffer.from(`Subject: large\r\n\r\n${".line of a large message\r\n".repeat(40_000)}`);
  const request = requestFor({ raw });
  request.read = () => Promise.reject(new Error("was read in one piece"));
  const [outcome] = await transportTo(port).deliver(request);
  assert.equal(outcome?.result, "delivered");
  assert.equal(hash.digest("hex"), createHash("sha256").update(raw).digest("hex"));
});

for (const extensions of [["PIPELINING"], []]) {
  const way = extensions.length > 0 ? "in one go" : "one by one";

  test(`smtp: each recipient has its own outcome, commands sent ${way}`, async () => {
    const server = await scripted((line) => {
      if (line === "RCPT TO:<later@x.test>") return "450-4.2.1 mailbox busy\r\n450 4.2.1 try later";
      if (line === "RCPT TO:<never@x.test>") return "550 5.1.1 no such user";
      return undefined;
    }, extensions);
    const transport = transportTo(server.port);
    const recipients = ["yes@x.test", "later@x.test", "never@x.test", "also@x.test"];
    assert.deepEqual(await transport.deliver(requestFor({ recipients })), [
      { recipient: "yes@x.test", result: "delivered", reply: "250 2.0.0 ok", code: "250", status: "2.0.0" },
      {
        recipient: "later@x.test",
        result: "deferred",
        reply: "450 4.2.1 mailbox busy try later",
        code: "450",
        status: "4.2.1",
      },
      {
        recipient: "never@x.test",
        result: "failed",
        reply: "550 5.1.1 no such user",
        code: "550",
        status: "5.1.1",
      },
      { recipient: "also@x.test", result: "delivered", reply: "250 2.0.0 ok", code: "250", status: "2.0.0" },
    ]);
    assert.equal(server.messages.length, 1);
  });

  test(`smtp: what refuses the message keeps what was said of recipients before, ${way}`, async () => {
    const server = await scripted((line) => {
      if (line === "RCPT TO:<never@x.test>") return "550 5.1.1 no such user";
      return line === "." ? "452 4.3.1 disk full" : undefined;
    }, extensions);
    const outcomes = await transportTo(server.port).deliver(
      requestFor({ recipients: ["never@x.test", "yes@x.test"] }),
    );
    assert.deepEqual(
      outcomes.map(({ result, code }) => [result, code]),
      [
        ["failed", "550"],
        ["deferred", "452"],
      ],
    );
  });

  test(`smtp: a refused MAIL, RCPT or DATA leaves the connection fit for the next message, ${way}`, async () => {
    let refuse = "";
    const server = await scripted(
      (line) => (refuse && line.startsWith(refuse) ? "554 5.7.1 not from you" : undefined),
      extensions,
    );
    const transport = transportTo(server.port);
    for (refuse of ["RCPT", "DATA"]) {
      const [outcome] = await transport.deliver(requestFor());
      assert.deepEqual([outcome?.result, outcome?.reply], ["failed", "554 5.7.1 not from you"]);
    }
    refuse = "";
    assert.equal((await transport.deliver(requestFor()))[0]?.result, "delivered");
    refuse = "MAIL";
    assert.equal((await transport.deliver(requestFor()))[0]?.reply, "554 5.7.1 not from you");
    refuse = "";
    const outcomes = await transport.deliver(requestFor());
    assert.equal(outcomes[0]?.result, "delivered");
    assert.equal(server.messages.filter((message) => message.length > 0).length, 2);
  });

  test(`smtp: the end of the connection after the final dot is deferred, ${way}`, async () => {
    const server = await scripted(
      (line) => (line === "." ? { reply: "", thenClose: true } : undefined),
      extensions,
    );
    const [outcome] = await transportTo(server.port).deliver(requestFor());
    assert.deepEqual([outcome?.result, outcome?.code], ["deferred", "CLOSED"]);
    assert.equal(server.connections(), 1);
  });
}

test("smtp: a server that takes DATA for nobody gets an empty message (RFC 2920 §3.1)", async () => {
  const server = await scripted((line) => (line.startsWith("RCPT") ? "550 5.1.1 nobody" : undefined));
  const transport = transportTo(server.port);
  assert.equal((await transport.deliver(requestFor()))[0]?.code, "550");
  assert.deepEqual(server.messages.map(String), [""]);
  assert.equal((await transport.deliver(requestFor()))[0]?.code, "550");
  assert.equal(server.connections(), 1);
});

test("smtp: a refusal in the middle of a large message counts", async () => {
  let connections = 0;
  const server = createServer((socket) => {
    connections++;
    socket.on("error", () => {});
    socket.write("220 ready\r\n");
    let refused = false;
    socket.on("data", (chunk) => {
      const line = chunk.toString("latin1");
      if (line.startsWith("EHLO")) socket.write("250 ready\r\n");
      else if (/^(MAIL|RCPT)/.test(line)) socket.write("250 ok\r\n");
      else if (line.startsWith("DATA")) socket.write("354 go on\r\n");
      else if (!refused) {
        refused = true;
        socket.write("552 5.3.4 too large\r\n");
      }
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  atEnd(() => server.close());
  const request = requestFor({ size: 1e9 });
  // Without end: only the refusal can stop it.
  request.raw = async () =>
    Readable.from(
      (function* () {
        for (;;) yield Buffer.alloc(65_536, "x");
      })(),
      { objectMode: false },
    );
  const transport = transportTo((server.address() as AddressInfo).port);
  const [outcome] = await transport.deliver(request);
  assert.deepEqual([outcome?.result, outcome?.reply], ["failed", "552 5.3.4 too large"]);
  // Half a message stands in that connection.
  await transport.deliver(requestFor());
  assert.equal(connections, 2);
});

/** Fails once its first piece was read, or before anybody reads it. */
const broken = {
  "in the middle": () =>
    Readable.from(
      (function* () {
        yield Buffer.from("Subject: half\r\n\r\nhal");
        throw new Error("EIO");
      })(),
      { objectMode: false },
    ),
  "before the server wants it": () => {
    const stream = new Readable({ read() {} });
    setImmediate(() => stream.destroy(new Error("EIO")));
    return stream;
  },
};
for (const [when, stream] of Object.entries(broken)) {
  test(`smtp: a message that cannot be read to its end is never ended, ${when}`, async () => {
    const server = await scripted();
    const transport = transportTo(server.port);
    await transport.deliver(requestFor());
    const request = requestFor({ size: 1e9 });
    request.raw = async () => stream();
    await assert.rejects(transport.deliver(request), /EIO/);
    // The next message has a connection of its own, and is the only one the server has taken since.
    assert.equal((await transport.deliver(requestFor()))[0]?.result, "delivered");
    assert.equal(server.messages.length, 2);
    assert.equal(server.connections(), 2);
  });
}

test("smtp: a server that answers out of step has taken nothing", async () => {
  for (const [command, reply, code] of [
    ["MAIL", "354 go on", "354"],
    ["RCPT", "354 go on", "354"],
    ["DATA", "250 2.0.0 delivered", "PROTOCOL"],
  ] as const) {
    const server = await scripted((line) => (line.startsWith(command) ? reply : undefined), []);
    const [outcome] = await transportTo(server.port).deliver(requestFor());
    assert.deepEqual([outcome?.result, outcome?.code], ["deferred", code], command);
    assert.ok(!server.lines.some((line) => line.includes("hello")), command);
  }
});

test("smtp: a thank-you for half a message is none", async () => {
  const server = await scripted((line) => (line === "DATA" ? "354 go on\r\n250 2.0.0 thanks" : undefined));
  const request = requestFor({ size: 1e9 });
  const { promise: thanked, resolve } = Promise.withResolvers<void>();
  request.raw = async () =>
    Readable.from(
      (async function* () {
        yield Buffer.from("Subject: half\r\n\r\nhal");
        await thanked;
      })(),
      { objectMode: false },
    );
  const [outcome] = await transportTo(server.port).deliver(request);
  resolve();
  assert.deepEqual([outcome?.result, outcome?.code], ["deferred", "PROTOCOL"]);
  assert.equal(server.messages.length, 0);
});

test("smtp: a message larger than the server takes is not sent", async () => {
  const server = await scripted(undefined, ["SIZE 40"]);
  const transport = transportTo(server.port);
  const [outcome] = await transport.deliver(requestFor({ raw: "x".repeat(41) }));
  assert.deepEqual([outcome?.result, outcome?.status], ["failed", "5.3.4"]);
  assert.equal((await transport.deliver(requestFor({ raw: "x".repeat(40) })))[0]?.result, "delivered");
  assert.equal(server.connections(), 1);
  assert.equal(server.messages.length, 1);
});

test("smtp: a reply's control characters do not come out again", async () => {
  const server = await scripted((line) =>
    line.startsWith("RCPT") ? "550 5.1.1 \u001b[2Jgone\u0007\u202e" : undefined,
  );
  const [outcome] = await transportTo(server.port).deliver(requestFor());
  assert.equal(outcome?.reply, "550 5.1.1 [2Jgone");
});
