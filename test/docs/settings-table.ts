import { readFileSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { type Setting, settings } from "@millrace/service";

/**
 * The README's table of settings, made from the settings themselves. `node test/docs/settings-table.ts --write`
 * puts it between its markers; a test fails when it is stale.
 */
export const readmePath = resolve(import.meta.dirname, "../../README.md");
const markers = /(<!-- settings -->\n)[\s\S]*?(<!-- \/settings -->)/;

export function settingsTable(): string {
  const rows = Object.entries<Setting<unknown>>(settings).map(([name, setting]) => {
    const fallback = setting.fallback === undefined ? "" : `\`${setting.fallback}\``;
    return `| \`${name}\` | ${fallback} | ${cell(setting.allowed)} | ${cell(setting.about)} |`;
  });
  return ["| setting | default | allowed | what it does |", "|---|---|---|---|", ...rows, ""].join("\n");
}

/** @throws Error when the text has no place for the table */
export function withSettingsTable(readme: string): string {
  if (!markers.test(readme))
    throw new Error(
      "README.md has no place for the table: add the lines <!-- settings --> and <!-- /settings -->",
    );
  return readme.replace(markers, (_, open: string, close: string) => `${open}\n${settingsTable()}\n${close}`);
}

function cell(text: string): string {
  return text.replaceAll("|", "\\|");
}

if (import.meta.main) {
  const readme = withSettingsTable(readFileSync(readmePath, "utf8"));
  if (process.argv.includes("--write")) writeFileSync(readmePath, readme);
  else process.stdout.write(settingsTable());
}
