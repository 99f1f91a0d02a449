import { sendLoad } from "./load.ts";
import { type Contestant, rates } from "./rate.ts";
import { startHaproxy } from "./systems/haproxy.ts";
import { startEdges } from "./systems/millrace.ts";
import type { Row } from "./table.ts";

/** Rounds that do not count, before the first one that does. */
const warmUpRounds = 15;

const what = "accept, fsync before 250, through a proxy";

/**
 * How fast messages are taken in directly, through HAProxy by the same edge, and through HAProxy by three edges on the
 * same Redis; and the shares of each round.
 */
export async function proxied(options: {
  messages: number;
  rounds: number;
  sessions: number;
  say: (line: string) => void;
  interrupted: AbortSignal;
}): Promise<Row[]> {
  options.say(`${what}: starting three edges`);
  const { edges, clear, stop } = await startEdges(3);
  const load = (messages: number) => ({ messages, sessions: options.sessions, bytes: 1_024 });
  const round: Contestant["round"] = ({ port }, messages) => sendLoad(port, load(messages));
  const proxiedPorts = edges.map(({ proxiedPort }) => proxiedPort);
  const contestant = (name: string, start: Contestant["start"]): Contestant => ({ name, start, round });
  // V8 takes tens of thousands of messages to make an edge as quick as it gets. In the rounds the first edge has seven
  // times as many as each of the others: without this these would be the slower for it.
  const warmUp = async (port: number) => {
    for (let i = 0; i < warmUpRounds; i++) {
      options.interrupted.throwIfAborted();
      await sendLoad(port, load(options.messages)).then(clear);
    }
  };
  try {
    const rows = await rates(
      what,
      [
        contestant("one edge, no proxy", async () => ({
          name: "one edge, no proxy",
          port: edges[0]?.port ?? 0,
          clear,
          stop: async () => {},
        })),
        ...(["one edge", "three edges"] as const).map((name) =>
          contestant(name, async () => {
            const ports = name === "one edge" ? proxiedPorts.slice(0, 1) : proxiedPorts;
            const haproxy = await startHaproxy(name, ports);
            options.say(`${what}: warming up ${haproxy.name}`);
            await warmUp(haproxy.port).catch(async (error: unknown) => {
              await haproxy.stop();
              throw error;
            });
            return { ...haproxy, clear };
          }),
        ),
      ],
      options,
    );
    const [direct, one, three] = rows as [Row, Row, Row];
    return [
      ...rows,
      share("one edge: with a proxy, of without", one, direct),
      share("three edges, of one", three, one),
    ];
  } finally {
    await stop();
  }
}

/** One row's value of each round as a share of the other's of the same round. */
function share(system: string, row: Row, of: Row): Row {
  const complete = row.values.length === of.values.length;
  const values = complete ? row.values.map((value, i) => (100 * value) / (of.values[i] as number)) : [];
  return { what, system, unit: "%", values, ...(values.length === 0 && { note: "not measured" }) };
}
