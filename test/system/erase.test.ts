import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { type MessageSummary, openMailStore } from "@millrace/mailstore";
import { closedPort } from "../support/free-port.ts";
import { Installation } from "../support/millrace.ts";
import { type Mail, mail, sendAll } from "../support/sender.ts";
import { until } from "../support/until.ts";

interface Erased {
  clean: boolean;
  receipt: {
    messages: string[];
    withOtherRecipients: string[];
    store: { blobs: number; octets: number };
    inFlight: { bodies: number; units: number };
    deliveredTo: Record<string, number>;
  };
  scan: { mentions: string[]; messages: string[]; redisKeys: string[]; leftovers: number };
}

const zora = "zora.zimtstern@example.com";

/** A mail with a header and a text of its own. */
function written(
  name: string,
  parts: { from?: string; to: string[]; header?: string[]; text?: string },
): Mail {
  const lines = [
    `From: ${parts.from ?? "sender@example.test"}`,
    `To: ${parts.to.join(", ")}`,
    `Subject: ${name}`,
    ...(parts.header ?? []),
    "",
    parts.text ?? `This is ${name}.`,
    "",
  ];
  return {
    name,
    to: parts.to,
    raw: Buffer.from(lines.join("\r\n")),
    ...(parts.from && { from: parts.from }),
  };
}

describe("a person's mail is erased while the pipeline runs", () => {
  let millrace: Installation;
  let sent = 0;
  before(async () => {
    millrace = new Installation({
      config: {
        routes: [
          { recipients: "*@dead.test", to: { smtp: `smtp://127.0.0.1:${closedPort}` } },
          { recipients: "*", to: { maildir: "./boxes/{recipient}" } },
        ],
      },
    });
    await millrace.up();
  });
  after(() => millrace.remove());

  const send = async (mails: Mail[]) => {
    const acknowledged = await sendAll(millrace.port, mails);
    sent += acknowledged.size;
    return acknowledged;
  };
  const states = async () => {
    const messages = await millrace.json<MessageSummary[]>("messages", "list", "--all");
    return new Map(messages.map(({ id, state }) => [id, state]));
  };
  const settled = () =>
    until(async () => [...(await states()).values()].every((state) => /delivered|deferred/.test(state)));
  /** Files under our own folders in which the address stands, plainly and without regard to case. */
  const filesWith = (address: string) =>
    ["var/mail", "var/redis"].flatMap((folder) =>
      readdirSync(join(millrace.folder, folder), { recursive: true, encoding: "utf8" })
        .map((name) => join(millrace.folder, folder, name))
        .filter((path) => existsSync(path) && statSync(path).isFile())
        .filter((path) => readFileSync(path, "latin1").toLowerCase().includes(address)),
    );

  test("all of it goes, and nobody else's; the receipt says what, the scan finds none left", async () => {
    const ids = await send([
      written("to both", { to: [zora, "bob@example.com"] }),
      written("only to zora", { to: [zora.toUpperCase()], text: "A slice of quarkstrudel, please." }),
      written("from zora", { from: zora, to: ["bob@example.com"] }),
      written("on its way", { from: zora, to: ["x@dead.test"] }),
      ...Array.from({ length: 20 }, (_, n) => mail(`bob-${n}`, "bob@example.com")),
      written("mention", { to: ["bob@example.com"], text: "I have asked yann@example.com." }),
    ]);
    await settled();
    // One that nobody has parsed yet, and that has the address in its header alone.
    const parse = millrace.pidOf("parse");
    process.kill(parse, "SIGSTOP");
    const reply = await send([
      written("unparsed", { to: ["bob@example.com"], header: [`Reply-To: Zora <${zora}>`] }),
    ]);
    ids.set("unparsed", reply.get("unparsed") as string);
    const hers = ["to both", "only to zora", "from zora", "on its way", "unparsed"];
    const expected = hers.map((name) => ids.get(name) as string).sort();
    for (const text of [zora, "quarkstrudel"]) assert.ok(filesWith(text).length > 0, "this test can see");

    const without = await millrace.run(["erase", "--address", zora]);
    assert.equal(without.status, 2);
    assert.match(without.stderr, /--yes/);
    const dry = await millrace.json<{
      messages: string[];
      withOtherRecipients: string[];
      inFlight: string[];
    }>(...["erase", "--address", zora, "--dry-run"]);
    assert.deepEqual(dry.messages.sort(), expected);
    assert.deepEqual(dry.inFlight.sort(), [ids.get("on its way"), ids.get("unparsed")].sort());
    assert.equal((await states()).size, sent);

    const erased = await millrace.json<Erased>("erase", "--address", zora, "--yes");
    process.kill(parse, "SIGCONT");
    assert.ok(erased.clean);
    assert.deepEqual(erased.receipt.messages.sort(), expected);
    assert.ok(erased.receipt.withOtherRecipients.includes(ids.get("to both") as string));
    assert.deepEqual([erased.receipt.store.blobs, erased.receipt.inFlight.bodies], [4, 1]);
    assert.equal(
      Object.values(erased.receipt.deliveredTo).reduce((a, b) => a + b),
      4,
    );

    await until(() => filesWith(zora).length === 0, 20_000);
    assert.deepEqual(filesWith("quarkstrudel"), []);
    const left = await states();
    assert.equal(left.size, sent - expected.length);
    assert.ok(left.has(ids.get("mention") as string));
    for (const id of expected) {
      assert.equal((await millrace.run(["trace", id])).status, 1);
      assert.equal((await millrace.run(["messages", "raw", id])).status, 1);
    }
    const store = openMailStore({ directory: join(millrace.folder, "var/mail"), readOnly: true });
    const snapshot = store.snapshot();
    assert.deepEqual([snapshot?.accepted, snapshot?.removed], [sent - expected.length, expected.length]);
    snapshot?.close();
    store.close();
    const audit = await millrace.json<{ holds: boolean; removed: number }>("audit", "--blobs", "content");
    assert.deepEqual([audit.holds, audit.removed], [true, expected.length]);
    const history = await millrace.json<{ messages: number; by: string }[]>("erase", "--history");
    assert.deepEqual(
      history.map(({ messages }) => messages),
      [expected.length],
    );
  });

  test("what comes in meanwhile goes as well, and the pipeline goes on", async () => {
    const mails = Array.from({ length: 60 }, (_, n) => mail(`more-${n}`, n % 2 ? zora : "bob@example.com"));
    const [first] = await Promise.all([
      millrace.run(["erase", "--address", zora, "--yes", "--json"]),
      send(mails),
    ]);
    assert.match(first.stdout.toString(), /"receipt"/);
    await settled();
    const erased = await millrace.json<Erased>("erase", "--address", zora, "--yes", "--scan-bodies");
    assert.deepEqual(erased.scan.messages, []);
    await until(() => filesWith(zora).length === 0, 20_000);
    const store = openMailStore({ directory: join(millrace.folder, "var/mail"), readOnly: true });
    const snapshot = store.snapshot();
    assert.deepEqual([snapshot?.accepted, snapshot?.removed], [sent - 35, 35]);
    assert.deepEqual([...(snapshot?.notStored() ?? []), ...(snapshot?.unfinished() ?? [])], []);
    snapshot?.close();
    store.close();
    await send([mail("after", zora)]);
    await settled();
  });

  test("a message that only mentions the address stays, and is listed on request", async () => {
    const erased = await millrace.json<Erased>(
      "erase",
      "--address",
      "Yann@example.com",
      "--yes",
      "--scan-bodies",
    );
    assert.ok(erased.clean);
    assert.deepEqual([erased.receipt.messages.length, erased.scan.mentions.length], [0, 1]);
    assert.ok((await states()).has(erased.scan.mentions[0] as string));
  });

  test("an address that is none, and one that nobody has", async () => {
    for (const address of ["zora", "@example.com", "zora@", "a b@example.com"]) {
      const { status, stderr } = await millrace.run(["erase", "--address", address, "--yes"]);
      assert.equal(status, 2);
      assert.match(stderr, /is no address/);
    }
    const { status, stdout } = await millrace.run(["erase", "--address", "nobody@example.com", "--yes"]);
    assert.equal(status, 0);
    assert.match(stdout.toString(), /0 +messages/);
    assert.match(stdout.toString(), /none left/);
  });
});
