import assert from "node:assert/strict";
import { test } from "node:test";
import { fileName } from "./file-name.ts";

const given = (name: string | null) => fileName("m1", 0, name).slice("m1-0-".length);

for (const [name, expected] of [
  ["invoice.pdf", "invoice.pdf"],
  ["Rechnung Müller 2042.pdf", "Rechnung_Müller_2042.pdf"],
  ["../../etc/passwd", "etc_passwd"],
  ["..\\..\\boot.ini", "boot.ini"],
  ["/absolute", "absolute"],
  [".bashrc", "bashrc"],
  ["--delete", "delete"],
  ["a\0b\r\nc\u202egpj.exe", "a_b_c_gpj.exe"],
  ["..", "attachment"],
  ["", "attachment"],
  [null, "attachment"],
  ["trailing. .", "trailing"],
  ["\ud800.pdf", "pdf"],
] as const) {
  test(`${JSON.stringify(name)} is called ${expected}`, () => assert.equal(given(name), expected));
}

test("a long name is cut in its middle, at whole letters, and keeps its extension", () => {
  const cut = given(`${"ü".repeat(500)}.pdf`);
  assert.ok(Buffer.byteLength(cut) <= 120);
  assert.match(cut, /^ü+\.pdf$/);
});

test("two attachments never have one name", () => {
  const names = [
    fileName("m1", 0, "a.pdf"),
    fileName("m1", 1, "a.pdf"),
    fileName("m2", 0, "a.pdf"),
    fileName("m1", 2, null),
    fileName("m1", 3, null),
  ];
  assert.equal(new Set(names).size, names.length);
});
