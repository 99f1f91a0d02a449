import assert from "node:assert/strict";
import { test } from "node:test";
import { linkLifetime, signLink, verifyLink } from "./signed-link.ts";

const secret = Buffer.alloc(32, 1);
const verify = (link: string, now?: number, key = secret) => {
  const [path = "", query = ""] = link.split("?");
  return verifyLink(path, new URLSearchParams(query), key, now);
};

test("signed link: works for its path until it expires, seven days from now", () => {
  const link = signLink("/messages/1/raw", secret);
  assert.match(link, /^\/messages\/1\/raw\?expires=\d+&signature=[\w-]{43}$/);
  assert.equal(verify(link), "valid");
  assert.equal(verify(link, Date.now() + (linkLifetime - 5) * 1_000), "valid");
  assert.equal(verify(link, Date.now() + (linkLifetime + 5) * 1_000), "expired");
});

test("signed link: nothing of it can be changed", () => {
  const link = signLink("/messages/1/raw", secret, 2_000_000_000);
  const changed = [
    link.replace("/1/", "/2/"),
    link.replace("expires=2000000000", "expires=2000000001"),
    link.replace("expires=2000000000&", ""),
    link.replace(/&signature=.*/, ""),
    link.slice(0, -1),
    `${link}A`,
    link.replace(/signature=./, "signature=\u00fc"),
  ];
  for (const each of changed) assert.equal(verify(each), "forged", each);
  assert.equal(verify(link, undefined, Buffer.alloc(32, 2)), "forged");
});

test("signed link: an expiry that is no number does not pass for forever", () => {
  for (const expires of [Number.NaN, -1, 0]) assert.equal(verify(signLink("/x", secret, expires)), "expired");
});
