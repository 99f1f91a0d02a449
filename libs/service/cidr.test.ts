import assert from "node:assert/strict";
import { test } from "node:test";
import { cidrProblems, cidrsIn, isCidr } from "./cidr.ts";

test("addresses and networks", () => {
  const good = ["127.0.0.1", "10.0.0.0/8", "0.0.0.0/0", "::1", "2001:db8::/32", "::/0"];
  const bad = [
    "",
    "localhost",
    "10.0.0.0/",
    "10.0.0.0/33",
    "::/129",
    "fe80::1%eth0",
    "10.0.0/8",
    "10.0.0.0/8/8",
  ];
  assert.deepEqual([...good, ...bad].filter(isCidr), good);
});

test("a setting has several of them with commas between, and each that is none is named", () => {
  assert.deepEqual(cidrsIn("10.0.0.0/8, ::1"), ["10.0.0.0/8", "::1"]);
  assert.deepEqual(cidrProblems("X", undefined), []);
  assert.deepEqual(cidrProblems("X", "10.0.0.0/8, ::1"), []);
  const problems = cidrProblems("X", "10.0.0.0/8,mail.example.com,10.0.0.0/33,");
  assert.deepEqual(
    problems.map((line) => line.split(" ")[0]),
    ["X=mail.example.com", "X=10.0.0.0/33", "X="],
  );
});
