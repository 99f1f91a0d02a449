import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, before, test } from "node:test";
import type { Unavailable } from "@millrace/pipeline/runtime";
import { startRedis, type TestRedis } from "@millrace/test/redis";
import { SmtpDialogue } from "@millrace/test/smtp-dialogue";
import { beginMessage, startTestEdge, type TestEdge } from "./testing/test-edge.ts";

let redis: TestRedis;
let edge: TestEdge;
before(async () => {
  redis = await startRedis();
  edge = await startTestEdge(redis.url, { recipients: ["*@example.com", "postmaster@mx.example.test"] });
});
after(async () => {
  await edge?.end();
  await redis?.stop();
});

test("a message is stored with its envelope, its digest and a Received field of ours in front", async () => {
  const client = await edge.client();
  await beginMessage(client, { to: ["User@Example.com"], parameters: " SIZE=40 BODY=8BITMIME" });
  await client.send("Subject: hello", "", "..dot", "end", ".");
  const reply = await client.expect("250 2.0.0 Ok: queued as ");
  assert.match(reply, /^250 2\.0\.0 Ok: queued as [0-7][0-9a-z]{25}$/);

  const { manifest, own, field } = await edge.stored(reply);
  assert.equal(own, "Subject: hello\r\n\r\n.dot\r\nend\r\n");
  assert.equal(manifest.size, own.length);
  assert.equal(manifest.sha256, createHash("sha256").update(own).digest("hex"));
  assert.match(
    field,
    /^Received: from client\.example \(\[127\.0\.0\.1\]\) by mx\.example\.test \(Millrace\)/,
  );
  assert.match(field, new RegExp(`with ESMTP id ${manifest.id} for <User@example.com>;`, "i"));
  assert.deepEqual(
    { ...manifest.envelope, client: manifest.envelope.client.ip },
    {
      from: "sender@example.org",
      recipients: ["User@Example.com"],
      smtputf8: false,
      body: "8bitmime",
      client: "127.0.0.1",
      helo: "client.example",
      protocol: "ESMTP",
      tls: null,
      user: null,
    },
  );
  assert.ok(
    edge.log.some(
      ({ msg, message, size }) => msg === "accepted" && message === manifest.id && size === own.length,
    ),
  );
  await client.send("QUIT");
  await client.expect("221 2.0.0 ");
  await client.expectClosed();
});

test("greeting and EHLO offer what there is, and nothing else", async () => {
  const client = await SmtpDialogue.connect(edge.port);
  await client.expect("220 mx.example.test ESMTP Millrace");
  await client.send("EHLO client.example");
  const lines = (await client.expect("250")).split("\n").map((line) => line.slice(4));
  assert.deepEqual(lines.slice(1).sort(), [
    "8BITMIME",
    "ENHANCEDSTATUSCODES",
    "PIPELINING",
    "SIZE 52428800",
    "SMTPUTF8",
  ]);
  for (const command of ["AUTH PLAIN AHgAeA==", "STARTTLS", "WIZ x", "SHELL", "KILL", "DATA_OK", "LHLO x"]) {
    await client.send(command);
    await client.expect("500 5.5.2 ");
  }
  client.destroy();
});

test("an empty message, and one after another on the same connection", async () => {
  const client = await edge.client();
  for (const lines of [["."], ["x", "."], ["..", "."]]) {
    await beginMessage(client);
    await client.send(...lines);
    const { own } = await edge.stored(await client.expect("250 2.0.0 "));
    assert.equal(
      own,
      lines
        .slice(0, -1)
        .map((line) => `${line.replace(/^\./, "")}\r\n`)
        .join(""),
    );
  }
  client.destroy();
});

test("a message to several recipients is stored once, and names none of them", async () => {
  const client = await edge.client();
  await beginMessage(client, { to: ["a@example.com", "b@example.com", "A@example.com"] });
  await client.send("x", ".");
  const { manifest, field } = await edge.stored(await client.expect("250 2.0.0 "));
  assert.deepEqual(manifest.envelope.recipients, ["A@example.com", "b@example.com"]);
  assert.doesNotMatch(field, / for </);
  client.destroy();
});

test("case 6: the final dot arrives octet by octet", async () => {
  const client = await edge.client();
  await beginMessage(client);
  for (const octet of "Subject: x\r\n\r\nbody\r\n.\r\n") await client.write(octet);
  const { own } = await edge.stored(await client.expect("250 2.0.0 "));
  assert.equal(own, "Subject: x\r\n\r\nbody\r\n");
  client.destroy();
});

test("case 14: XCLIENT and XFORWARD are refused", async () => {
  const client = await edge.client();
  await client.send("XCLIENT ADDR=192.0.2.1");
  await client.expect("550 5.7.0 ");
  await client.send("XFORWARD ADDR=192.0.2.1");
  await client.expect("550 5.7.0 ");
  client.destroy();
});

test("case 17: a pipelined batch is answered in order, two messages long", async () => {
  const client = await edge.client();
  const transaction = [
    "MAIL FROM:<a@example.org>",
    "RCPT TO:<b@example.com>",
    "RCPT TO:<c@elsewhere.example>",
    "DATA",
  ];
  await client.send(...transaction);
  for (const reply of ["250 2.1.0 ", "250 2.1.5 ", "550 5.1.1 ", "354 "]) await client.expect(reply);
  await client.send("one", ".", ...transaction);
  for (const reply of ["250 2.0.0 ", "250 2.1.0 ", "250 2.1.5 ", "550 5.1.1 ", "354 "])
    await client.expect(reply);
  await client.send("two", ".", "QUIT");
  const { own } = await edge.stored(await client.expect("250 2.0.0 "));
  assert.equal(own, "two\r\n");
  await client.expect("221 2.0.0 ");
});

test("case 27: the null reverse-path is accepted", async () => {
  const client = await edge.client();
  await beginMessage(client, { from: "" });
  await client.send("x", ".");
  const { manifest } = await edge.stored(await client.expect("250 2.0.0 "));
  assert.equal(manifest.envelope.from, "");
  client.destroy();
});

test("case 28: commands out of order", async () => {
  const client = await edge.client();
  await client.send("RCPT TO:<a@example.com>");
  await client.expect("503 5.5.1 ");
  await client.send("MAIL FROM:<a@example.org>", "MAIL FROM:<b@example.org>");
  await client.expect("250 2.1.0 ");
  await client.expect("503 5.5.1 ");
  client.destroy();
  const rude = await SmtpDialogue.connect(edge.port);
  await rude.expect("220 ");
  await rude.send("MAIL FROM:<a@example.org>");
  await rude.expect("503 5.5.1 ");
  rude.destroy();
});

test("case 29: a parameter that is not understood is refused with 555", async () => {
  const client = await edge.client();
  for (const parameter of ["X=1", "REQUIRETLS", "AUTH=<>", "RET=FULL", "ENVID=x", "HOLDFOR=1", "BY=1;R"]) {
    await client.send(`MAIL FROM:<a@example.org> ${parameter}`);
    await client.expect("555 5.5.4 ");
  }
  await client.send("MAIL FROM:<a@example.org>");
  await client.expect("250 2.1.0 ");
  for (const parameter of ["NOTIFY=NEVER", "ORCPT=rfc822;a@example.com", "X", "NOTIFY"]) {
    await client.send(`RCPT TO:<a@example.com> ${parameter}`);
    await client.expect("555 5.5.4 ");
  }
  client.destroy();
});

test("what is wrong with a parameter that is understood", async () => {
  const client = await edge.client();
  for (const parameter of ["BODY=BINARYMIME", "BODY", "SIZE=x", "SIZE=1 SIZE=2", "SMTPUTF8=yes"]) {
    await client.send(`MAIL FROM:<a@example.org> ${parameter}`);
    await client.expect("501 5.5.4 ");
  }
  client.destroy();
});

test("a refused MAIL leaves nothing behind for the next", async () => {
  let sick: Unavailable | undefined;
  const moody = await startTestEdge(redis.url, {
    around: (intake) => ({ ...intake, unavailable: () => sick ?? intake.unavailable() }),
  });
  const client = await moody.client();
  sick = { why: "away", reason: "it is Monday" };
  // smtp-server applies the parameters first, and asks whether it may then.
  await client.send("MAIL FROM:<a@example.org> SMTPUTF8 BODY=8BITMIME");
  await client.expect("451 4.3.0 ");
  sick = undefined;
  await client.send(
    "MAIL FROM:<a@example.org>",
    "RCPT TO:<jörg@example.com>",
    "RCPT TO:<user@example.com>",
    "DATA",
  );
  for (const reply of ["250 2.1.0 ", "553 5.6.7 ", "250 2.1.5 ", "354 "]) await client.expect(reply);
  await client.send("x", ".");
  const { manifest } = await moody.stored(await client.expect("250 2.0.0 "));
  assert.deepEqual([manifest.envelope.body, manifest.envelope.smtputf8], [null, false]);
  client.destroy();
  await moody.end();
});

test("case 30: quoted local parts that are not understood are refused, not guessed at", async () => {
  const client = await edge.client();
  await client.send("MAIL FROM:<a@example.org>");
  await client.expect("250 2.1.0 ");
  for (const address of [
    '"a b"@example.com',
    '"a@b"@example.com',
    "a@b@example.com",
    "@example.com",
    "a@",
    "",
  ]) {
    await client.send(`RCPT TO:<${address}>`);
    await client.expect("501 5.1.3 ");
  }
  await client.send('MAIL FROM:<"a b"@example.org>');
  await client.expect("501 5.1.7 ");
  client.destroy();
});

test("case 31: a source route is stripped, and a percent hack is only a local part", async () => {
  const client = await edge.client();
  await client.send("MAIL FROM:<a@example.org>");
  await client.expect("250 2.1.0 ");
  await client.send("RCPT TO:<@relay.example,@other.example:user@example.com>");
  await client.expect("250 2.1.5 ");
  await client.send("RCPT TO:<@example.com:user@elsewhere.example>");
  await client.expect("550 5.1.1 ");
  await client.send("RCPT TO:<user%example.com@elsewhere.example>");
  await client.expect("550 5.1.1 ");
  await client.send("RCPT TO:<user%elsewhere.example@example.com>");
  await client.expect("250 2.1.5 ");
  await client.send("DATA");
  await client.expect("354 ");
  await client.send("x", ".");
  const { manifest } = await edge.stored(await client.expect("250 2.0.0 "));
  assert.deepEqual(manifest.envelope.recipients, ["user@example.com", "user%elsewhere.example@example.com"]);
  client.destroy();
});

test("case 32: mail to the bare postmaster is for this host's", async () => {
  const client = await edge.client();
  await beginMessage(client, { to: ["postmaster", "PostMaster", "postmaster@mx.example.test"] });
  await client.send("x", ".");
  const { manifest } = await edge.stored(await client.expect("250 2.0.0 "));
  assert.deepEqual(manifest.envelope.recipients, ["postmaster@mx.example.test"]);
  client.destroy();
});

test("case 32: the bare postmaster by a route of that name, or a warning at the start", async () => {
  const named = await startTestEdge(redis.url, { recipients: ["postmaster"] });
  const client = await named.client();
  await beginMessage(client, { to: ["Postmaster"] });
  await client.send("x", ".");
  const { manifest } = await named.stored(await client.expect("250 2.0.0 "));
  assert.deepEqual(manifest.envelope.recipients, ["postmaster"]);
  assert.ok(!named.log.some(({ msg }) => String(msg).includes("postmaster")));
  client.destroy();
  await named.end();

  const without = await startTestEdge(redis.url, { recipients: ["*@elsewhere.example"] });
  const other = await without.client();
  await other.send("MAIL FROM:<>", "RCPT TO:<postmaster>");
  await other.expect("250 2.1.0 ");
  await other.expect("550 5.1.1 ");
  assert.ok(
    without.log.some(({ level, msg }) => level === 40 && String(msg).includes("postmaster@mx.example.test")),
  );
  other.destroy();
  await without.end();
});

test("case 33: an address in UTF-8 needs SMTPUTF8", async () => {
  const client = await edge.client();
  await client.send("MAIL FROM:<jörg@example.org>");
  await client.expect("553 5.6.7 ");
  await client.send("MAIL FROM:<a@example.org>", "RCPT TO:<jörg@example.com>");
  await client.expect("250 2.1.0 ");
  await client.expect("553 5.6.7 ");
  await client.send("RSET");
  await client.expect("250 ");
  await beginMessage(client, {
    from: "jörg@bücher.example",
    to: ["jörg@example.com"],
    parameters: " SMTPUTF8",
  });
  await client.send("x", ".");
  const { manifest, field } = await edge.stored(await client.expect("250 2.0.0 "));
  assert.equal(manifest.envelope.from, "jörg@bücher.example");
  assert.equal(manifest.envelope.protocol, "UTF8SMTP");
  assert.match(Buffer.from(field, "latin1").toString(), /with UTF8SMTP[\s\S]*for <jörg@example\.com>/);
  client.destroy();
});

test("an address in A-labels is ASCII, and stays as the client wrote it", async () => {
  const client = await edge.client();
  await beginMessage(client, { from: "a@xn--bcher-kva.example" });
  await client.send("x", ".");
  const { manifest } = await edge.stored(await client.expect("250 2.0.0 "));
  assert.equal(manifest.envelope.from, "a@xn--bcher-kva.example");
  client.destroy();
});

test("case 35: a recipient no route takes is refused: no relay", async () => {
  const client = await edge.client();
  await client.send("MAIL FROM:<a@example.org>", "RCPT TO:<user@elsewhere.example>");
  await client.expect("250 2.1.0 ");
  await client.expect("550 5.1.1 ");
  assert.ok(
    edge.log.some(({ msg, recipient }) => msg === "refused" && recipient === "user@elsewhere.example"),
  );
  client.destroy();
});

test("case 37: VRFY verifies nothing, EXPN is not there", async () => {
  const client = await edge.client();
  await client.send("VRFY user@example.com");
  await client.expect("252 2.1.5 ");
  await client.send("EXPN list");
  await client.expect("502 5.5.1 ");
  client.destroy();
});

test("HELO is enough for a message", async () => {
  const client = await SmtpDialogue.connect(edge.port);
  await client.expect("220 ");
  await client.send("HELO old.example");
  await client.expect("250 mx.example.test");
  await beginMessage(client);
  await client.send("x", ".");
  const { field } = await edge.stored(await client.expect("250 2.0.0 "));
  assert.match(field, /\swith SMTP id /);
  client.destroy();
});
