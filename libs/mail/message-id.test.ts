import assert from "node:assert/strict";
import { test } from "node:test";
import { messageIdSchema, newMessageId } from "./message-id.ts";

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
