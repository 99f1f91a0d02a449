import assert from "node:assert/strict";
import { existsSync, globSync, readFileSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { test } from "node:test";

const root = resolve(import.meta.dirname, "../..");
const guide = readFileSync(resolve(root, "docker/proxy-guide.md"), "utf8");
const heading = "## What works, and where that is tested\n";
const rows = guide
  .slice(guide.indexOf(heading))
  .split("\n")
  .filter((line) => line.startsWith("| "))
  .slice(1)
  .map((line) => line.split("|").map((cell) => cell.trim()));

/** Sections of the guide before this one, and how many rows each of them is worth at least. */
const sections: [string, number][] = [
  ...([
    ["Overview", 1],
    ["Quick start", 4],
    ["nginx", 5],
    ["HAProxy", 4],
    ["Let's Encrypt", 4],
    ["Environment variables", 1],
    ["systemd service", 1],
    ["Load balancing", 3],
    ["Monitoring", 3],
    ["Troubleshooting", 4],
    ["Security", 4],
    ["Tuning", 3],
    ["Testing", 2],
    ["Load testing", 1],
    ["Migration path", 1],
  ] as const),
].map(([name, count]) => [name, count]);

test("the guide's table has every section of the guide before it, in its order", () => {
  const seen: [string, number][] = [];
  for (const [, row = ""] of rows) {
    const name = sections.find(([each]) => new RegExp(`^${each}(?:$|[ :,])`).test(row))?.[0];
    assert.ok(name, `a row of no section: ${row}`);
    const last = seen.at(-1);
    if (last?.[0] === name) last[1]++;
    else seen.push([name, 1]);
  }
  assert.deepEqual(
    seen.map(([name]) => name),
    sections.map(([name]) => name),
  );
  for (const [i, [name, least]] of sections.entries())
    assert.ok((seen[i]?.[1] ?? 0) >= least, `${name} has fewer than ${least} rows`);
});

test("each row of the guide's table names tests that are there", () => {
  for (const [, row = "", here, shown = ""] of rows) {
    assert.ok(here, row);
    const named = shown.split("; ").flatMap((part) => {
      const [, guideItself, path, names = ""] = /^(?:(guide)|`([^`]+)`): (.*)$/.exec(part) ?? [];
      const file = guideItself ? "test/docs/proxy-guide" : (path ?? "");
      return [...names.matchAll(/"([^"]+)"/g)].map(([, name = ""]) => ({ file, name }));
    });
    assert.ok(named.length > 0, `no test for: ${row}`);
    for (const { file, name } of named) {
      assert.ok(existsSync(resolve(root, file)), `${row}: no file ${file}`);
      assert.ok(
        testNames(file).some((each) => each.includes(name)),
        `${row}: ${file} has no test "${name}"`,
      );
    }
  }
});

test("what the guide links to in this repository is there", () => {
  for (const [, path = "", anchor] of guide.matchAll(/\]\(((?!https?:)[^)#]*)(?:#([^)]+))?\)/g)) {
    const file = resolve(root, "docker", path || "proxy-guide.md");
    assert.ok(existsSync(file), path);
    if (anchor) assert.ok(anchorsOf(readFileSync(file, "utf8")).includes(anchor), `${path}#${anchor}`);
  }
});

/** What a file, or those of a folder, call their tests, also in the `test` of a table. */
function testNames(file: string): string[] {
  const path = resolve(root, file);
  const files = statSync(path).isDirectory() ? globSync(`${path}/*.ts`) : [path];
  const source = files.map((each) => readFileSync(each, "utf8")).join("\n");
  const calls = source.matchAll(/\btest(?:\(|:)\s*(?:"((?:[^"\\]|\\.)*)"|`((?:[^`\\]|\\.)*)`)/g);
  return [...calls].map(([, plain, template]) => plain ?? template ?? "");
}

/** As GitHub makes them of headings. */
function anchorsOf(markdown: string): string[] {
  return [...markdown.matchAll(/^#+ (.*)$/gm)].map(([, text = ""]) =>
    text
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, "")
      .replaceAll(" ", "-"),
  );
}
