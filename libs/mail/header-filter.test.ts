import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { authservIdOf } from "./authserv-id.ts";
import { addedFields, type HeaderEdits, headerEditsSchema, isRemoved, joinedEdits } from "./header-edits.ts";
import { HeaderFilter } from "./header-filter.ts";

const edits = (some: Partial<HeaderEdits>): HeaderEdits => headerEditsSchema.parse(some);
const ours = edits({ remove: [{ name: "Authentication-Results", authservId: "mx.test" }] });

/** What is left of a message that comes in pieces of a size. */
function filtered(message: string, rules: HeaderEdits, pieceSize = message.length): string {
  const filter = new HeaderFilter(rules);
  const octets = Buffer.from(message, "utf8");
  const out: Buffer[] = [];
  for (let at = 0; at < octets.length; at += pieceSize) {
    out.push(Buffer.from(filter.push(Buffer.from(octets.subarray(at, at + pieceSize)))));
  }
  out.push(filter.end());
  const result = Buffer.concat(out);
  assert.equal(result.length, octets.length - filter.removed, "the octets left out are counted");
  return result.toString("utf8");
}

describe("added fields", () => {
  test("stand in their order, folded at 78 characters where they have spaces", () => {
    const value = Array.from({ length: 30 }, (_, i) => `word${i}`).join(" ");
    const octets = addedFields(
      edits({
        add: [
          { name: "X-Long", value },
          { name: "X-Short", value: "yes" },
        ],
      }),
    );
    const lines = octets.toString().split("\r\n");
    assert.ok(lines.every((line) => line.length <= 78));
    assert.equal(octets.toString().replace(/\r\n(?=\s)/g, ""), `X-Long: ${value}\r\nX-Short: yes\r\n`);
  });

  test("are cut by force where a word is longer than a line may be", () => {
    const octets = addedFields(edits({ add: [{ name: "X-Long", value: "x".repeat(5_000) }] })).toString();
    assert.ok(octets.split("\r\n").every((line) => line.length <= 998));
    assert.equal(octets.replaceAll(/\r\n /g, ""), `X-Long: ${"x".repeat(5_000)}\r\n`.replace(": ", ": "));
  });

  for (const [name, value] of [
    ["a line of its own", "a\r\nBcc: b@c.test"],
    ["a bare line feed", "a\nBcc: b@c.test"],
    ["a bare carriage return", "a\rBcc: b@c.test"],
    ["the end of the header", "a\r\n\r\nBcc: b@c.test"],
    ["a NUL and other control characters", "a\0\x0b\x0c\x1b\x7f\x85Bcc: b@c.test"],
    ["the line ends of Unicode", "a\u2028\u2029Bcc: b@c.test"],
  ] as const) {
    test(`no value begins a field, not with ${name}`, () => {
      assert.equal(
        addedFields(edits({ add: [{ name: "X-A", value }] })).toString(),
        "X-A: a Bcc: b@c.test\r\n",
      );
    });
  }

  test("a value that is not ASCII becomes encoded words", () => {
    const octets = addedFields(
      edits({ add: [{ name: "X-A", value: "Grüße aus Köln ".repeat(20) }] }),
    ).toString();
    assert.match(octets, /^[\x20-\x7e\r\n]*$/);
    const words = [...octets.matchAll(/=\?utf-8\?B\?([^?]*)\?=/g)].map(([, word]) =>
      Buffer.from(word as string, "base64"),
    );
    assert.equal(Buffer.concat(words).toString(), "Grüße aus Köln ".repeat(20).trim());
  });

  test("a name that is none, or a Received field to be left out, is refused", () => {
    for (const name of ["X A", "X:", "", "X\r\n", "Ü"]) {
      assert.throws(() => edits({ add: [{ name, value: "x" }] }), /field's name/);
    }
    assert.throws(() => edits({ remove: [{ name: "received" }] }), /mail loop/);
    assert.throws(() => edits({ remove: [{ name: "X-A", authservId: "x" }] }), /Authentication-Results only/);
  });

  test("reading edits twice gives the same", () => {
    const once = edits({ add: [{ name: "X-A", value: " a \r\n b " }] });
    assert.deepEqual(edits(once), once);
  });

  test("of two workers the later one's stand in front", () => {
    const first = edits({ add: [{ name: "A", value: "1" }] });
    const second = edits({ add: [{ name: "B", value: "2" }], remove: [{ name: "C" }] });
    assert.deepEqual(joinedEdits(first, undefined, second), {
      add: [...second.add, ...first.add],
      remove: second.remove,
    });
    assert.equal(joinedEdits(undefined), undefined);
  });
});

describe("fields left out", () => {
  const message = [
    "Received: by mx.test",
    "X-Spam: yes",
    "Subject: a",
    "x-spam : folded",
    "\tover: two lines",
    "To: b",
    "",
    "X-Spam: in the body",
    "",
  ].join("\r\n");
  const kept = "Received: by mx.test\r\nSubject: a\r\nTo: b\r\n\r\nX-Spam: in the body\r\n";
  const rules = edits({ remove: [{ name: "X-Spam" }] });

  test("are gone with their continuation lines, and the body stays", () => {
    assert.equal(filtered(message, rules), kept);
  });

  test("are gone however the message is cut into pieces", () => {
    for (let size = 1; size < 40; size++)
      assert.equal(filtered(message, rules, size), kept, `pieces of ${size}`);
  });

  test("a message of a header alone, without its empty line or its last line end", () => {
    assert.equal(filtered("A: 1\r\nX-Spam: 2", rules), "A: 1\r\n");
    assert.equal(filtered("A: 1\r\nB", rules), "A: 1\r\nB");
    assert.equal(filtered("", rules), "");
    assert.equal(filtered("X-Spam: 1\nA: 2\n\nX-Spam: b\n", rules), "A: 2\n\nX-Spam: b\n");
  });

  test("only Authentication-Results with our id, and those nobody can be sure of", () => {
    const field = (value: string) => `Authentication-Results: ${value}\r\n`;
    const removed = [
      "mx.test; spf=pass",
      "MX.Test. 1; spf=pass",
      "(a (nested \\) comment)) mx.test; spf=pass",
      '"mx.test"; spf=pass',
      '"mx\\.test" ; spf=pass',
      "mx.test(a comment); spf=pass",
      "\r\n mx.test;\r\n spf=pass",
      "mx.test",
      "; spf=pass",
      "",
      "=?utf-8?q?mx=2Etest?=; spf=pass",
      "(a comment without an end mx.test; spf=pass",
    ];
    const staying = [
      "other.test; spf=pass",
      "mx.test.evil.test; spf=pass",
      "(mx.test) other.test; dkim=pass",
    ];
    const all = [...removed, ...staying].map(field).join("");
    for (const size of [1, 7, 100_000])
      assert.equal(filtered(`${all}\r\nbody`, ours, size), `${staying.map(field).join("")}\r\nbody`);
    for (const value of staying) assert.equal(isRemoved(ours, "authentication-results", value), false);
  });

  test("no more than one field is held, and of that no more than 64 KiB", () => {
    const filter = new HeaderFilter(ours);
    const piece = Buffer.alloc(65_536, "x");
    filter.push(Buffer.from("Authentication-Results: other.test;"));
    let out = 0;
    for (let i = 0; i < 100; i++) out += filter.push(piece).length;
    // What says nothing certain within that is left out, and counted.
    assert.equal(out, 0);
    assert.equal(filter.removed, 35 + 100 * 65_536);
    assert.equal(filter.push(Buffer.from("\r\nSubject: a\r\n")).toString(), "Subject: a\r\n");
    const long = new HeaderFilter(ours);
    const sent = long.push(Buffer.alloc(10_000, "x")).length;
    assert.equal(sent, 10_000, "a line that is no field goes through at once");
  });
});

test("an authserv-id is read as RFC 8601 writes it", () => {
  assert.equal(authservIdOf(" example.org 1; none"), "example.org");
  assert.equal(authservIdOf('"a b"; none'), "a b");
  assert.equal(authservIdOf("(only a comment)"), undefined);
});
