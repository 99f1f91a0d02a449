import assert from "node:assert/strict";
import { test } from "node:test";
import { judge } from "./checks.ts";
import type { Evidence, Stored } from "./evidence.ts";
import type { Sent } from "./load.ts";

const to = ["box@all.test"];
const sent = (fate: Sent["fate"]): Sent => ({
  mail: { name: "m", raw: Buffer.from("m"), sha256: "good", to },
  fate,
});
const message: Stored = { id: "1", state: "delivered", to, sha256: "good" };
const arrival = { id: "1", sha256: "good", recipients: to };

/** One message that was acknowledged, stored and delivered to three targets; `change` makes it go wrong. */
function evidence(change: Partial<Evidence> = {}): Evidence {
  return {
    sent: [sent({ state: "acknowledged", id: "1" })],
    stored: [message],
    arrivals: { maildir: [arrival], smtp: [arrival], webhook: [{ ...arrival, deliveryId: "d" }] },
    ...change,
  };
}

/** The same with one target's arrivals replaced. */
function arrived(target: keyof Evidence["arrivals"], ...list: Evidence["arrivals"]["smtp"]): Evidence {
  return evidence({ arrivals: { ...evidence().arrivals, [target]: list } });
}

const nobody: Evidence["arrivals"] = { maildir: [], smtp: [], webhook: [] };

test("a message that went its way is no problem", () => {
  assert.deepEqual(judge(evidence()), { problems: [], repeated: [] });
});

test("one that nobody acknowledged may be there once, or not at all", () => {
  for (const fate of [{ state: "unknown" }, { state: "refused", reply: "451 4.3.0 x" }] as const) {
    assert.deepEqual(judge(evidence({ sent: [sent(fate)] })).problems, []);
    assert.deepEqual(judge({ sent: [sent(fate)], stored: [], arrivals: nobody }).problems, []);
  }
});

test("an SMTP server may get one again, and a webhook under the same id: that is told, not held against us", () => {
  const twice = judge(arrived("smtp", arrival, arrival));
  assert.deepEqual(twice.problems, []);
  assert.match(twice.repeated.join(), /delivered 2 times to smtp/);
  const hook = { ...arrival, deliveryId: "d" };
  assert.deepEqual(judge(arrived("webhook", hook, hook)).problems, []);
});

const other = { ...message, id: "2" };
const unread = { ...message, sha256: { unreadable: "is missing" } };
const wrong: [what: string, Evidence, RegExp][] = [
  ["not stored", evidence({ stored: [], arrivals: nobody }), /LOST: acknowledged as 1, and not stored/],
  ["stored without its octets", evidence({ stored: [unread] }), /LOST: acknowledged as 1: is missing/],
  ["stored with other octets", evidence({ stored: [{ ...message, sha256: "bad" }] }), /DAMAGED: stored as 1/],
  ["stored under two ids", evidence({ stored: [message, other] }), /stored 2 times: 1, 2/],
  [
    "stored, and never sent to its end",
    evidence({ sent: [sent({ state: "incomplete" })] }),
    /never came to the end/,
  ],
  ["stored, and never sent", evidence({ sent: [] }), /nobody sent it like that/],
  [
    "left in another state",
    evidence({ stored: [{ ...message, state: "deferred" }] }),
    /its state is deferred/,
  ],
  [
    "refused for good",
    evidence({ sent: [sent({ state: "refused", reply: "550 no" })] }),
    /refused with "550 no"/,
  ],
  ["never answered", evidence({ sent: [sent({ state: "unanswered" })] }), /the edge hangs/],
  ["not delivered", arrived("smtp"), /1: not delivered to smtp/],
  ["twice in a Maildir", arrived("maildir", arrival, arrival), /delivered 2 times to maildir/],
  [
    "at a webhook under two ids",
    arrived("webhook", arrival, { ...arrival, deliveryId: "e" }),
    /more than one delivery id/,
  ],
  ["delivered with other octets", arrived("smtp", { ...arrival, sha256: "bad" }), /DAMAGED: smtp/],
  [
    "delivered to somebody else",
    arrived("smtp", arrival, { ...arrival, recipients: ["x@y"] }),
    /smtp got it for x@y/,
  ],
  [
    "delivered without being stored",
    arrived("smtp", arrival, { ...arrival, id: "9" }),
    /9: 1 × at smtp, and not stored/,
  ],
];
for (const [what, found, problem] of wrong) {
  test(`a message that is ${what} is a problem`, () =>
    assert.match(judge(found).problems.join("\n"), problem));
}

test("one that is still in flight is late, and not lost", () => {
  const late = judge(evidence({ stored: [], arrivals: nobody }), new Set(["1"]));
  assert.match(late.problems.join(), /still in flight/);
  assert.doesNotMatch(late.problems.join(), /LOST/);
});
