import { writeSync } from "node:fs";
import { openMailStore } from "../open-mail-store.ts";
import { storeItem } from "./fixtures.ts";

/**
 * A process of its own that removes without end: `node removing-process.ts <directory>`. Prints a line for each batch:
 * the ids it is about to store and then remove.
 */
const store = openMailStore({ directory: process.argv[2] ?? "" });
for (;;) {
  const items = Array.from({ length: 20 }, () => storeItem());
  const ids = items.map(({ manifest }) => manifest.id);
  writeSync(1, `${ids.join(" ")}\n`);
  await store.put(items);
  await store.remove(ids, "retention");
}
