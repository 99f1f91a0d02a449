import { openMailStore } from "../open-mail-store.ts";
import { journalWriter, storeItem } from "./fixtures.ts";

/**
 * A process of its own that writes: `node writing-process.ts <directory> <batches> <messages in each>`. Prints a
 * line for each batch once it is durable: the ids. Archives entries whose seqs every such process shares.
 */
const [directory = "", batches, size] = process.argv.slice(2);
const store = openMailStore({ directory });
const entry = journalWriter();
const shared = "01jz0000000000000000000000";
for (let n = 0; n < Number(batches); n++) {
  const items = Array.from({ length: Number(size) }, () => storeItem());
  await store.put(items);
  store.archive([entry(shared, "step"), entry(shared, "step")]);
  process.stdout.write(`${items.map(({ manifest }) => manifest.id).join(" ")}\n`);
}
store.close();
