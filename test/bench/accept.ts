import { sendLoad } from "./load.ts";
import { type Contestant, rates } from "./rate.ts";
import { startBareServer } from "./systems/bare.ts";
import { startEdge } from "./systems/millrace.ts";
import { startPostfix } from "./systems/postfix.ts";
import type { Row } from "./table.ts";

/** How fast messages are taken in, each of them on disk before its 250; smtp-server keeps none, for comparison. */
export function accept(options: {
  messages: number;
  rounds: number;
  sessions: number;
  ours: boolean;
  peers: boolean;
  say: (line: string) => void;
  interrupted: AbortSignal;
}): Promise<Row[]> {
  const round: Contestant["round"] = ({ port }, messages) =>
    sendLoad(port, { messages, sessions: options.sessions, bytes: 1_024 });
  const ours = { name: "Millrace, one edge", start: startEdge, round };
  const peers = [
    { name: "Postfix", start: () => startPostfix({ hold: true }), round },
    { name: "bare smtp-server", start: startBareServer, round },
  ];
  return rates(
    "accept, fsync before 250",
    [...(options.ours ? [ours] : []), ...(options.peers ? peers : [])],
    options,
  );
}
