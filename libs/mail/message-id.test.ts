import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeTime } from "ulid";
import { derivedMessageId, messageIdSchema, newMessageId } from "./message-id.ts";

test("ids are well formed, unique and sort by time", () => {
  const ids = Array.from({ length: 10_000 }, () => newMessageId());
  assert.deepEqual(ids, [...new Set(ids)].sort());
  for (const id of ids.slice(0, 100)) assert.ok(messageIdSchema.safeParse(id).success);
  assert.ok(newMessageId(1) < newMessageId(2_000_000_000_000));
});

test("what is no id cannot pass for one", () => {
  for (const text of [
    "",
    "../../../etc/passwd0000000",
    "01arz3ndektsv4rrffq69g5fa",
    "01ARZ3NDEKTSV4RRFFQ69G5FAV",
  ]) {
    assert.ok(!messageIdSchema.safeParse(text).success, text);
  }
});

test("a derived id is the same for the same reason, different for every other, and well formed", () => {
  const at = Date.UTC(2026, 1, 3);
  const id = derivedMessageId(at, "m", "t");
  assert.equal(derivedMessageId(at, "m", "t"), id);
  const others = [[at, "m", "u"] as const, [at, "mt"] as const, [at + 1, "m", "t"] as const];
  for (const [time, ...reason] of others) assert.notEqual(derivedMessageId(time, ...reason), id);
  assert.ok(messageIdSchema.safeParse(id).success, id);
  assert.equal(decodeTime(id), at);
});
