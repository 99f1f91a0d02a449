import assert from "node:assert/strict";
import { test } from "node:test";
import { attachmentDisposition, harmlessType } from "./content-disposition.ts";

test("content-disposition: a file name is given in both forms, and can do nothing else", () => {
  const names: [given: string, ascii: string, encoded: string][] = [
    ["report.pdf", "report.pdf", "report.pdf"],
    ["gr\u00fc\u00dfe (1).pdf", "gr__e (1).pdf", "gr%C3%BC%C3%9Fe%20%281%29.pdf"],
    ["../../etc/passwd", "passwd", "passwd"],
    ["C:\\Windows\\x.exe", "x.exe", "x.exe"],
    ['a"; filename="b.exe', "a_; filename=_b.exe", "a_%3B%20filename%3D_b.exe"],
    ["a\r\nSet-Cookie: x=y", "aSet-Cookie_ x=y", "aSet-Cookie_%20x%3Dy"],
    ["exe.\u202efdp", "exe.fdp", "exe.fdp"],
    ["CON", "_CON", "_CON"],
    ["nul.txt", "_nul.txt", "_nul.txt"],
    [".bashrc", "bashrc", "bashrc"],
    ["\0", "attachment", "attachment"],
    ["", "attachment", "attachment"],
    ["\ud800.txt", "_.txt", "%EF%BF%BD.txt"],
    ["100%.txt", "100_.txt", "100%25.txt"],
  ];
  for (const [given, ascii, encoded] of names) {
    assert.equal(
      attachmentDisposition(given),
      `attachment; filename="${ascii}"; filename*=UTF-8''${encoded}`,
    );
  }
  assert.ok(attachmentDisposition("\u{1f600}".repeat(5_000)).length < 4_000);
});

test("content-disposition: what a browser could run goes as octets", () => {
  for (const type of ["image/png", "text/plain", "application/pdf", "audio/ogg", "IMAGE/JPEG"])
    assert.equal(harmlessType(type), type.toLowerCase());
  const harmful = [
    "text/html",
    "image/svg+xml",
    "text/xml",
    "application/xhtml+xml",
    "text/javascript",
    "application/x-sh",
  ];
  for (const type of [...harmful, "", "text/plain; charset=x", "image/png\r\nX: y", "multipart/mixed"])
    assert.equal(harmlessType(type), "application/octet-stream", type);
});
