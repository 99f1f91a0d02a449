import assert from "node:assert/strict";
import { test } from "node:test";
import { readDate } from "./date.ts";

const read: [field: string, utc: string][] = [
  ["Fri, 21 Nov 1997 09:55:06 -0600", "1997-11-21T15:55:06.000Z"],
  ["Fri, 21 Nov 1997 09(comment):   55  :  06 -0600", "1997-11-21T15:55:06.000Z"],
  ["21 Nov 97 09:55:06 GMT", "1997-11-21T09:55:06.000Z"],
  ["1 Jan 49 00:00 EST", "2049-01-01T05:00:00.000Z"],
  ["Thu, 1 Jan 1970 00:00:00 +0000 (UTC)", "1970-01-01T00:00:00.000Z"],
  ["Sat, 31 Dec 2016 23:59:60 +0000", "2017-01-01T00:00:00.000Z"],
  ["Sat Aug 12 00:00:00 2009", "2009-08-12T00:00:00.000Z"],
  ["Sat Aug 12 00:00:00 PDT 2009", "2009-08-12T07:00:00.000Z"],
  ["2009-08-12T10:00:00+02:00", "2009-08-12T08:00:00.000Z"],
  ["Tue, 7 Apr 2026 10:00:00 +02:00", "2026-04-07T08:00:00.000Z"],
];
for (const [field, utc] of read) test(`${field} is ${utc}`, () => assert.equal(readDate(field), utc));

for (const field of [
  "",
  "Whenever",
  "hello 5",
  "31 Feb 2020 10:00:00 +0000",
  "1 Jan 2020 25:00:00 +0000",
  "0",
]) {
  test(`${JSON.stringify(field)} is no date`, () => assert.equal(readDate(field), null));
}
