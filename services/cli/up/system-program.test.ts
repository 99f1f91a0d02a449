import assert from "node:assert/strict";
import { test } from "node:test";
import { systemProgram } from "./system-program.ts";

test("one that is there is found, in its folder", () => {
  assert.match(
    systemProgram("openssl", ["no-such-openssl", "openssl"], () => {}, ""),
    /^\/.*\/openssl$/,
  );
});

test("one that is not is named, with the one command that installs it", (t) => {
  t.mock.method(process as { getuid(): number }, "getuid", () => 1000);
  assert.throws(
    () => systemProgram("haproxy", ["no-such-haproxy"], () => {}, "leave --proxy out"),
    /no no-such-haproxy is installed: run sudo apt-get install -y haproxy, or leave --proxy out/,
  );
});
