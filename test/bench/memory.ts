import { freemem } from "node:os";
import { sendLoad } from "./load.ts";
import { give } from "./rate.ts";
import { NotInstalled } from "./system.ts";
import { startEdge } from "./systems/millrace.ts";
import type { Row } from "./table.ts";

const clients = 200;
const bytes = 25 * 2 ** 20;

/** The most memory an edge has while 200 clients send it 25 MB each, all at once. Redis keeps all of it meanwhile. */
export async function memory({ say }: { say: (line: string) => void }): Promise<Row[]> {
  const row: Row = {
    what: `edge's memory, ${clients} clients send ${bytes / 2 ** 20} MB each`,
    system: "Millrace, one edge",
    unit: "MB",
    values: [],
  };
  const needed = clients * bytes * 1.5;
  say(`${row.what}: starting`);
  try {
    if (freemem() < needed) throw new NotInstalled(`needs ${Math.ceil(needed / 2 ** 30)} GiB of free memory`);
    const edge = await startEdge();
    try {
      const seconds = await sendLoad(edge.port, { messages: clients, sessions: clients, bytes });
      row.values.push((await edge.peakMemory()) / 2 ** 20);
      say(`${row.what}: ${Math.round((clients * bytes) / 2 ** 20 / seconds)} MB/s came in`);
    } finally {
      await edge.stop();
    }
  } catch (error) {
    give(row, error);
  }
  return [row];
}
