import assert from "node:assert/strict";
import { test } from "node:test";
import { accept, decisionSchema, defer, reject, tag } from "./decision.ts";
import { definePolicy, type PolicyOptions } from "./policy.ts";

test("a policy has defaults, and times as numbers or durations", () => {
  const decide = () => accept();
  const policy = definePolicy({ name: "p", on: "rcpt", decide });
  assert.deepEqual([policy.on, policy.timeout, policy.onError], [["rcpt"], 5_000, "defer"]);
  assert.equal(policy.decide, decide);
  const given = definePolicy({ name: "p", on: ["mail", "data"], timeout: "2s", onError: "accept", decide });
  assert.deepEqual([given.on, given.timeout, given.onError], [["mail", "data"], 2_000, "accept"]);
  assert.equal(definePolicy({ name: "p", on: "mail", timeout: 250, decide }).timeout, 250);
});

test("what is wrong with a policy is named, with the policy", () => {
  const decide = () => accept();
  const cases: [Record<string, unknown>, RegExp][] = [
    [{ name: "No Name", on: "mail", decide }, /policy "No Name": a name is/],
    [{ name: "p", on: "helo", decide }, /policy "p": `on` is one or several of mail, rcpt, data, not "helo"/],
    [{ name: "p", on: [], decide }, /`on` is one or several of/],
    [{ name: "p", on: "mail", timeout: "2m", decide }, /`timeout` is a minute at most, not 2m/],
    [{ name: "p", on: "mail", timeout: 0, decide }, /`timeout`: 0 is no duration: give milliseconds above 0/],
    [{ name: "p", on: "mail", onError: "reject", decide }, /`onError` is defer or accept, not "reject"/],
    [{ name: "p", on: "mail" }, /`decide` is not a function/],
  ];
  for (const [options, message] of cases) {
    const wrong = options as unknown as PolicyOptions<"mail", never, never>;
    assert.throws(() => definePolicy(wrong), { name: "TypeError", message });
  }
});

test("a refusal has a code of its kind, and an enhanced status of the code's class", () => {
  assert.deepEqual(reject(), { decision: "reject", code: 550, text: "5.7.1 Not accepted here" });
  assert.deepEqual(defer(), { decision: "defer", code: 451, text: "4.7.1 Not now, try again later" });
  assert.deepEqual(reject(554, "No"), { decision: "reject", code: 554, text: "5.7.1 No" });
  assert.deepEqual(reject(550, "5.1.1 Nobody"), { decision: "reject", code: 550, text: "5.1.1 Nobody" });
  assert.deepEqual(defer(450, "5.1.1 Later"), { decision: "defer", code: 450, text: "4.7.1 Later" });
  assert.deepEqual(reject(550, "5.1.1"), { decision: "reject", code: 550, text: "5.7.1 Not accepted here" });
  assert.throws(() => reject(250, "x"), /reject: `code` of a reject is a reply code from 510 to 599/);
  assert.throws(() => defer(550, "x"), /defer: `code` of a defer is a reply code from 400 to 499/);
  assert.throws(() => reject(550.5, "x"), /whole number/);
  assert.throws(() => reject("550" as never, "x"), /whole number/);
  assert.throws(() => reject(550, 7 as never), /`text` is a text/);
});

test("a text is one line of ASCII that fits into a reply", () => {
  const textOf = (text: string) => {
    const decision = reject(550, text);
    return "text" in decision ? decision.text : "";
  };
  assert.equal(textOf("no\r\n250 yes\0\u0085now\u2028here"), "5.7.1 no 250 yes now here");
  assert.equal(textOf("gr\u00fc\u00dfe \u{1f600}!"), "5.7.1 gr??e ?!");
  assert.equal(textOf("\r\n \t"), "5.7.1 Not accepted here");
  for (const text of ["x".repeat(1_000_000), `5.1.2 ${"x".repeat(1_000_000)}`, " ".repeat(1_000_000)])
    assert.ok(textOf(text).length <= 500);
});

test("tags are words", () => {
  assert.deepEqual(tag("spam", "score:7.5"), { decision: "tag", tags: ["spam", "score:7.5"] });
  for (const wrong of ["", "two words", "a\r\nb", "x".repeat(65), "gr\u00fcn"])
    assert.throws(() => tag(wrong), /tag: a tag is a word/);
  assert.throws(() => tag(), /no tag/);
  assert.throws(() => tag(...Array.from({ length: 33 }, (_, i) => `t${i}`)), /more than 32/);
});

test("what is no decision is told so", () => {
  for (const wrong of [undefined, null, true, "accept", {}, { decision: "ok" }, accept]) {
    const result = decisionSchema.safeParse(wrong);
    assert.match(result.error?.issues[0]?.message ?? "", /a decision is what accept\(\), reject\(\)/);
  }
});
