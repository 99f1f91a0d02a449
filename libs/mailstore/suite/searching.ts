import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { type SuiteContext, storeItem } from "./fixtures.ts";

/** Full-text search. */
export function searchingCases(context: SuiteContext): void {
  test("finds words, phrases, beginnings and addresses", async () => {
    const items = [
      storeItem({
        from: "billing@shop.example",
        recipients: ["sales@example.com"],
        parsed: {
          subject: "Your invoice 2026-117",
          from: [{ name: "Zoë Müller", address: "zoe@shop.example" }],
          text: "Please pay the amount due. NEAR the end: C++ & l'été.",
        },
      }),
      storeItem({ parsed: { subject: "amount of pay", text: "due the invoice" } }),
      storeItem({
        parsed: {
          subject: "page",
          html: "<style>p{color:hidden}</style><p>only <b>markup</b></p><script>let secret</script>",
        },
      }),
    ];
    await context.store().put(items);
    const ids = items.map(({ manifest }) => manifest.id);
    const found = (search: string) =>
      context
        .store()
        .list({ search })
        .map(({ id }) => ids.indexOf(id));

    const cases: [search: string, ids: number[]][] = [
      ["invoice", [1, 0]],
      ["INVOICE pay", [1, 0]],
      ["invoice please", [0]],
      ['"amount due"', [0]],
      ['"amount due', [0]],
      ['"pay the amo"*', [0]],
      ["inv*", [1, 0]],
      ["inv", []],
      ["zoe", [0]],
      ["Müller", [0]],
      ["muller zoë", [0]],
      ["billing@shop.example", [0]],
      ["zoe@shop.example", [0]],
      ["sales@example.com", [0]],
      ["2026-117", [0]],
      ["markup", [2]],
      ["hidden", []],
      ["secret", []],
      ["été", [0]],
      ["near", [0]],
    ];
    for (const [search, expected] of cases) assert.deepEqual(found(search), expected, search);
  });

  test("whatever is typed is words, never a syntax error", async () => {
    await context.store().put([storeItem({ parsed: { subject: "alpha and NEAR beta", text: "gamma" } })]);
    const finding = [
      "alpha",
      "alpha -",
      "NEAR",
      "alpha AND beta",
      "^alpha",
      '"alpha" "',
      "al*",
      '"alpha and"*',
      "alpha\0beta*",
      "(gamma)",
    ];
    const nothing = [
      '"',
      '""',
      "*",
      "***",
      '"*',
      "\0",
      "!!!",
      "(",
      "NOT",
      "alpha OR zeta",
      "subject:alpha",
      "{a b}:c",
      "NEAR(alpha beta, 5)",
      "alpha*beta*",
      "alpha NOT beta",
      "zeta'; DROP TABLE messages; --",
      "\ud800",
      "\ufffe",
      "😀",
      "日本語",
      "٣٤",
      "a".repeat(100_000),
    ];
    for (const search of finding.filter((typed) => !typed.includes("\0")))
      assert.equal(context.store().list({ search }).length, 1, search);
    for (const search of nothing)
      assert.deepEqual(context.store().list({ search }), [], JSON.stringify(search));
    for (const search of [...finding, ...nothing]) {
      context.store().list({ search: `${search} ${search}` });
      context.store().list({ search: `"${search}"*` });
    }
    assert.equal(context.store().list({ search: "alpha ".repeat(20_000) }).length, 1);
    for (let n = 0; n < 300; n++) context.store().list({ search: randomBytes(24).toString("latin1") });
    // Nothing but blanks is no search.
    assert.equal(context.store().list({ search: " \t" }).length, 1);
    assert.equal(context.store().list({ search: "" }).length, 1);
  });
}
