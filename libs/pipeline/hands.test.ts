import assert from "node:assert/strict";
import { test } from "node:test";
import { Hands } from "./hands.ts";

test("there are so many hands and no more; who asks first has the next free one", async () => {
  const hands = new Hands(2);
  const [first, second] = [await hands.take(), await hands.take()];
  const order: string[] = [];
  const third = hands.take().then((letGo) => {
    order.push("third");
    return letGo;
  });
  const fourth = hands.take().then(() => order.push("fourth"));
  await new Promise(setImmediate);
  assert.deepEqual(order, []);
  second?.();
  (await third)?.();
  await fourth;
  assert.deepEqual(order, ["third", "fourth"]);
  first?.();
});

test("who waits no longer than so long goes without, and takes nobody's place", async () => {
  const hands = new Hands(1);
  const letGo = await hands.take();
  assert.equal(await hands.take(5), undefined);
  const next = hands.take();
  letGo?.();
  assert.ok(await next);
});
