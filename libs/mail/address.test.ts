import assert from "node:assert/strict";
import { test } from "node:test";
import { addressFileName, domainOf, localPartOf } from "./address.ts";

test("the last @ divides local part and domain", () => {
  assert.equal(domainOf('"a@b"@Example.COM'), "example.com");
  assert.equal(localPartOf('"a@b"@example.com'), '"a@b"');
  assert.equal(domainOf("postmaster"), "");
});

test("a file name is one plain name, and two addresses never share one", () => {
  const addresses = [
    "a@b.c",
    "a/b@c",
    "a%2Fb@c",
    "..",
    ".",
    ".a@b",
    "é@b",
    "e@b",
    `${"x".repeat(300)}@b`,
    `${"x".repeat(301)}@b`,
  ];
  const names = addresses.map(addressFileName);
  assert.equal(new Set(names).size, addresses.length);
  for (const name of names) {
    assert.match(name, /^[a-z0-9@_+=%-][a-z0-9@._+=%A-F-]*$/);
    assert.ok(name.length <= 200);
  }
  assert.equal(addressFileName("Anna@Example.com"), addressFileName("anna@example.com"));
});
