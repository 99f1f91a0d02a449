import assert from "node:assert/strict";
import { test } from "node:test";
import { patternMatches, type Route, routeFor, routeSchema, targetsFor } from "./route.ts";

const route = (recipients: string | string[], to: unknown): Route => routeSchema.parse({ recipients, to });
const maildir = route("*", { maildir: "/mail/{recipient}" });

test("a pattern takes whole addresses, without regard to case", () => {
  assert.ok(patternMatches("*", "a@b"));
  assert.ok(patternMatches("*@example.com", "Anna@EXAMPLE.com"));
  assert.ok(!patternMatches("*@example.com", "a@example.com.evil.test"));
  assert.ok(!patternMatches("*@example.com", "a@sub.example.com"));
  assert.ok(patternMatches("*@*.example.com", "a@sub.example.com"));
  assert.ok(!patternMatches("a.b@example.com", "axb@example.com"));
  assert.ok(patternMatches("sales+*@example.com", "sales+eu@example.com"));
});

test("the first route that takes a recipient is its route", () => {
  const first = route(["sales@example.com", "*@shop.example.com"], { lmtp: "127.0.0.1:24" });
  assert.equal(routeFor([first, maildir], "x@shop.example.com"), first);
  assert.equal(routeFor([first, maildir], "x@example.com"), maildir);
  assert.equal(routeFor([first], "x@example.com"), undefined);
});

test("recipients that share a destination share a target; each Maildir of its own is a target", () => {
  const routes = [route("*@a.test", { smtp: "smtp://relay.test:25" }), maildir];
  const { targets } = targetsFor(routes, ["1@a.test", "2@a.test", "3@b.test", "4@b.test"]);
  assert.deepEqual(
    targets.map(({ transport, recipients }) => [transport, recipients]),
    [
      ["smtp", ["1@a.test", "2@a.test"]],
      ["maildir", ["3@b.test"]],
      ["maildir", ["4@b.test"]],
    ],
  );
});

test("recipients no route takes any more are told apart, not lost", () => {
  const { targets, unrouted } = targetsFor([route("*@a.test", { lmtp: "h:24" })], ["x@a.test", "y@b.test"]);
  assert.equal(targets.length, 1);
  assert.deepEqual(unrouted, ["y@b.test"]);
});

test("a target's id outlives a changed secret and shows none", () => {
  const hook = (secret: string) => route("*", { webhook: "https://u:p4ss@app.test/in", secret });
  const [a] = targetsFor([hook("one")], ["x@y"]).targets;
  const [b] = targetsFor([hook("two")], ["x@y"]).targets;
  assert.equal(a?.id, b?.id);
  assert.ok(!a?.label.includes("p4ss"));
});

test("a hostile recipient cannot leave the Maildir's folder", () => {
  const { targets } = targetsFor([maildir], ["../../etc/passwd@x", "a/b\0c@x", ".hidden@x"]);
  for (const target of targets) {
    const path = (target.config as { maildir: string }).maildir;
    assert.match(path, /^\/mail\/[^/\0]+$/);
    assert.doesNotMatch(path, /^\/mail\/\.\.?(?![0-9A-Za-z%])/);
  }
});

test("a route says what is wrong with it", () => {
  const result = routeSchema.safeParse({ recipients: "*", to: { ftp: "x" } });
  assert.match(result.error?.issues[0]?.message ?? "", /a target is one of/);
  const misspelt = routeSchema.safeParse({ recipients: "*", to: { webhook: "htp//x", secrt: "y" } });
  assert.deepEqual(misspelt.error?.issues.map(({ path }) => path.join(".")).sort(), ["to.0", "to.0.webhook"]);
});

test("a route's schedule and its end are its targets'; without them a target has none", () => {
  const routes = [
    routeSchema.parse({
      recipients: "*@a.test",
      to: { lmtp: "h:24" },
      retry: ["1s"],
      onFailure: "dsn",
    }),
    maildir,
  ];
  const { targets } = targetsFor(routes, ["x@a.test", "y@b.test"]);
  assert.deepEqual(
    targets.map(({ retry, onFailure }) => [retry, onFailure]),
    [
      [{ delays: [1_000], jitter: 0.2 }, "dsn"],
      [undefined, undefined],
    ],
  );
});

test("of several routes to one destination the first in the configuration says how, whoever comes first", () => {
  const to = { lmtp: "h:24" };
  const routes = [
    routeSchema.parse({ recipients: "*@a.test", to, retry: ["1s"] }),
    routeSchema.parse({ recipients: "*@b.test", to, retry: ["2s"], onFailure: "dsn" }),
  ];
  for (const recipients of [
    ["x@a.test", "y@b.test"],
    ["y@b.test", "x@a.test"],
  ]) {
    const { targets } = targetsFor(routes, recipients);
    assert.equal(targets.length, 1);
    assert.deepEqual(targets[0]?.recipients, recipients);
    assert.deepEqual(targets[0]?.retry, { delays: [1_000], jitter: 0.2 });
    assert.equal(targets[0]?.onFailure, undefined);
  }
});

test("the relay takes whom no route takes, and shares a target with a route to the same place", () => {
  const relay = { smtp: "smtp://relay.test:25" };
  const routes = [route("*@a.test", relay), route("*@c.test", { lmtp: "h:24" })];
  const { targets, unrouted } = targetsFor(routes, ["x@a.test", "y@b.test", "z@c.test"], relay);
  assert.deepEqual(unrouted, []);
  assert.deepEqual(
    targets.map(({ transport, recipients }) => [transport, recipients]),
    [
      ["smtp", ["x@a.test", "y@b.test"]],
      ["lmtp", ["z@c.test"]],
    ],
  );
});

test("a route says what is wrong with its schedule and its end", () => {
  const wrong = { recipients: "*", to: { maildir: "/m" }, retry: ["5x"], onFailure: "bounce" };
  const issues = routeSchema.safeParse(wrong).error?.issues ?? [];
  assert.deepEqual(issues.map(({ path }) => path.join(".")).sort(), ["onFailure", "retry.0"]);
});
