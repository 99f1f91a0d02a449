import { give } from "./rate.ts";
import type { System } from "./system.ts";
import { startMillrace } from "./systems/millrace.ts";
import { startPostfix } from "./systems/postfix.ts";
import { quantile, type Row } from "./table.ts";
import { measure, startTimingSink } from "./timed-delivery.ts";

const seconds = 15;

/**
 * Milliseconds from a message's 250 to the end of its delivery, at `perSecond` messages a second. Sender and sink
 * are in this process, so that one clock tells both times.
 */
export async function latency(options: {
  perSecond: number;
  ours: boolean;
  peers: boolean;
  say: (line: string) => void;
  interrupted: AbortSignal;
}): Promise<Row[]> {
  const contestants: { name: string; start: (port: number) => Promise<System> }[] = [
    ...(options.ours ? [{ name: "Millrace", start: (port: number) => startMillrace(port, 1) }] : []),
    ...(options.peers
      ? [{ name: "Postfix", start: (port: number) => startPostfix({ sinkPort: port }) }]
      : []),
  ];
  const rows: Row[] = [];
  for (const { name, start } of contestants) {
    options.interrupted.throwIfAborted();
    const what = `latency at ${options.perSecond} msg/s`;
    const p50: Row = { what: `${what}, p50`, system: name, unit: "ms", values: [] };
    const p99: Row = { what: `${what}, p99`, system: name, unit: "ms", values: [] };
    rows.push(p50, p99);
    options.say(`${what}: starting ${name}`);
    const sink = await startTimingSink();
    let system: System | undefined;
    try {
      system = await start(sink.port);
      p50.system = p99.system = system.name;
      await measure(system.port, sink, options.perSecond, 2);
      const times = await measure(system.port, sink, options.perSecond, seconds);
      p50.values.push(quantile(times, 0.5));
      p99.values.push(quantile(times, 0.99));
    } catch (error) {
      for (const row of [p50, p99]) give(row, error);
    } finally {
      await system?.stop();
      await sink.stop();
    }
  }
  return rows.sort((a, b) => a.what.localeCompare(b.what));
}
