import { type Sink, sendThrough, startSink } from "./load.ts";
import { type Contestant, rates } from "./rate.ts";
import type { System } from "./system.ts";
import { startHaraka } from "./systems/haraka.ts";
import { startMillrace } from "./systems/millrace.ts";
import { startPostfix } from "./systems/postfix.ts";
import type { Row } from "./table.ts";

/** How fast messages come through: in by SMTP, kept, out by SMTP, until the sink has counted the last of them. */
export function endToEnd(options: {
  messages: number;
  rounds: number;
  sessions: number;
  edges: number;
  ours: boolean;
  peers: boolean;
  say: (line: string) => void;
  interrupted: AbortSignal;
}): Promise<Row[]> {
  const { sessions, edges } = options;
  const peers = [
    contestant("Postfix", sessions, (port) => startPostfix({ sinkPort: port })),
    contestant("Haraka", sessions, startHaraka),
  ];
  const ours = contestant("Millrace", sessions, (port) => startMillrace(port, edges));
  return rates(
    "end to end, by SMTP",
    [...(options.ours ? [ours] : []), ...(options.peers ? peers : [])],
    options,
  );
}

/** A system with a sink of its own: what one leaves behind is not counted as another's. */
function contestant(
  name: string,
  sessions: number,
  start: (sinkPort: number) => Promise<System>,
): Contestant {
  let sink: Sink;
  return {
    name,
    async start() {
      sink = await startSink();
      try {
        const system = await start(sink.port);
        return {
          ...system,
          async stop() {
            await system.stop();
            await sink.stop();
          },
        };
      } catch (error) {
        await sink.stop();
        throw error;
      }
    },
    round: ({ port }, messages) => sendThrough(port, sink, { messages, sessions, bytes: 1_024 }),
  };
}
