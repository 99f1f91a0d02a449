import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { readmePath, withSettingsTable } from "./settings-table.ts";

test("the README's table of settings is the one that the settings make", () => {
  const readme = readFileSync(readmePath, "utf8");
  assert.equal(
    readme,
    withSettingsTable(readme),
    "the table in README.md is stale: run node test/docs/settings-table.ts --write",
  );
});

test("a README without the markers is refused, by name of the markers", () => {
  assert.throws(() => withSettingsTable("# Millrace\n"), /<!-- settings -->/);
});
