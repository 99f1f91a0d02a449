import { mkdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { accept } from "./accept.ts";
import { endToEnd } from "./end-to-end.ts";
import { history } from "./history.ts";
import { isolation } from "./isolation.ts";
import { latency } from "./latency.ts";
import { isInMemory, machine } from "./machine.ts";
import { memory } from "./memory.ts";
import { proxied } from "./proxied.ts";
import { formatTable, median, type Row } from "./table.ts";
import { worker } from "./worker.ts";

const usage = `usage: npm run bench -- [options]
  --only LIST    some of accept, proxy, e2e, latency, worker, memory, isolation, history, peers (all but the long history).
                 Without peers, Millrace alone; peers alone, all but Millrace
  --messages N   messages in one round (10000)
  --rounds N     rounds that count (3)
  --sessions N   connections at the same time (100)
  --edges N      edges of the pipeline, end to end (1)
  --stored N     messages in the mail store for history: audit, replay at a rate, a new worker (100000)
  --rate N       messages a second of its replay (2000)
  --dir FOLDER   where everything is written, on the disk to be measured (the folder of temporary files, or
                 /var/tmp where that one is in memory)
  --json         figures as JSON, every round's among them
`;
const usual = ["accept", "proxy", "e2e", "latency", "worker", "memory", "isolation", "peers"];
const parts = [...usual, "history"];

const options = readOptions();
const folder = resolve(options.dir ?? (isInMemory(tmpdir()) ? "/var/tmp" : tmpdir()));
mkdirSync(folder, { recursive: true });
// Each part makes its folders among the temporary files.
process.env.TMPDIR = folder;

const say = (line: string) => void process.stderr.write(`bench: ${line}\n`);
// Postfix is no child of ours: whoever presses Ctrl-C must not find it running afterwards.
const interruption = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => interruption.abort());

const on = machine(folder);
say(on);
const onlyPeers = options.only.every((part) => part === "peers");
const wanted = (part: string) => onlyPeers || options.only.includes(part);
const shared = {
  ...options,
  ours: !onlyPeers,
  peers: options.only.includes("peers"),
  say,
  interrupted: interruption.signal,
};

const rows: Row[] = [];
try {
  if (wanted("accept")) rows.push(...(await accept(shared)));
  if (wanted("proxy") && !onlyPeers) rows.push(...(await proxied(shared)));
  if (wanted("e2e")) rows.push(...(await endToEnd(shared)));
  if (wanted("latency")) rows.push(...(await latency({ ...shared, perSecond: 200 })));
  if (wanted("worker")) rows.push(...(await worker(shared)));
  if (options.only.includes("history")) rows.push(...(await history(shared)));
  if (wanted("memory") && !onlyPeers) rows.push(...(await memory(shared)));
  if (wanted("isolation") && !onlyPeers) rows.push(...(await isolation(shared)));
} catch (error) {
  if (!interruption.signal.aborted) throw error;
  say("interrupted; everything that was started is stopped");
  process.exit(130);
}

if (options.json) {
  const figures = rows.map((row) => ({ ...row, median: row.values.length > 0 ? median(row.values) : null }));
  process.stdout.write(`${JSON.stringify({ machine: on, load: options, rows: figures }, null, 2)}\n`);
} else {
  const load = `${options.messages} messages of 1 KB a round, ${options.sessions} connections, fsync as in production`;
  process.stdout.write(`${on}\n${load}\n\n${formatTable(rows)}`);
}
if (rows.some((row) => row.note?.startsWith("failed"))) process.exitCode = 1;

function readOptions() {
  try {
    const { values } = parseArgs({
      options: {
        only: { type: "string", default: usual.join(",") },
        messages: { type: "string", default: "10000" },
        rounds: { type: "string", default: "3" },
        sessions: { type: "string", default: "100" },
        edges: { type: "string", default: "1" },
        stored: { type: "string", default: "100000" },
        rate: { type: "string", default: "2000" },
        dir: { type: "string" },
        json: { type: "boolean", default: false },
      },
    });
    const only = values.only.split(",");
    const unknown = only.find((part) => !parts.includes(part));
    if (unknown !== undefined) throw new Error(`--only ${unknown}: there is no such part`);
    const count = (name: "messages" | "rounds" | "sessions" | "edges" | "stored" | "rate"): number => {
      if (!/^[1-9]\d{0,7}$/.test(values[name]))
        throw new Error(`--${name} ${values[name]}: give a whole number from 1`);
      return Number(values[name]);
    };
    return {
      only,
      messages: count("messages"),
      rounds: count("rounds"),
      sessions: count("sessions"),
      edges: count("edges"),
      stored: count("stored"),
      rate: count("rate"),
      dir: values.dir,
      json: values.json,
    };
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n${usage}`);
    process.exit(64);
  }
}
