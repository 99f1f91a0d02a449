import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { SMTPServer } from "smtp-server";
import { give } from "./rate.ts";
import { Sender } from "./sender.ts";
import type { System } from "./system.ts";
import { startMillrace } from "./systems/millrace.ts";
import { startPostfix } from "./systems/postfix.ts";
import { quantile, type Row } from "./table.ts";

const seconds = 15;
const connections = 20;

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

interface TimingSink {
  port: number;
  /** When each message was there as a whole, by its number. */
  deliveredAt: Map<number, number>;
  stop(): Promise<void>;
}

async function startTimingSink(): Promise<TimingSink> {
  const deliveredAt = new Map<number, number>();
  const server = new SMTPServer({
    disabledCommands: ["AUTH", "STARTTLS"],
    disableReverseLookup: true,
    logger: false,
    async onData(stream, _session, callback) {
      const raw = await text(stream);
      deliveredAt.set(Number(/^X-Number: (\d+)/m.exec(raw)?.[1]), performance.now());
      callback();
    },
  });
  server.on("error", () => {});
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.server.address() as AddressInfo).port,
    deliveredAt,
    stop: () => new Promise((resolve) => server.close(() => resolve())),
  };
}

async function measure(
  port: number,
  sink: TimingSink,
  perSecond: number,
  seconds: number,
): Promise<number[]> {
  sink.deliveredAt.clear();
  const acceptedAt = new Map<number, number>();
  const senders = await Promise.all(Array.from({ length: connections }, () => Sender.connect(port)));
  const idle = [...senders];
  const sending: Promise<void>[] = [];
  const startedAt = performance.now();
  const total = perSecond * seconds;
  for (let number = 0; number < total; number++) {
    const due = startedAt + (number * 1_000) / perSecond;
    const early = due - performance.now();
    if (early > 0) await sleep(early);
    const sender = idle.pop() ?? (await Sender.connect(port));
    if (!senders.includes(sender)) senders.push(sender);
    sending.push(
      sender.send(message(number)).then((at) => {
        acceptedAt.set(number, at);
        idle.push(sender);
      }),
    );
  }
  await Promise.all(sending);
  for (const sender of senders) sender.close();
  const deadline = Date.now() + 30_000;
  while (sink.deliveredAt.size < total) {
    if (Date.now() > deadline)
      throw new Error(`${total - sink.deliveredAt.size} of ${total} were not delivered`);
    await sleep(10);
  }
  // The delivery may be seen before the 250 is: both are read by one process.
  return [...acceptedAt].map(([number, at]) => Math.max(0, (sink.deliveredAt.get(number) as number) - at));
}

function message(number: number): string {
  const head = ["From: a@x.example", "To: b@x.example", `Subject: message ${number}`, `X-Number: ${number}`];
  return [...head, "", ...Array.from({ length: 12 }, () => "x".repeat(70)), "."].join("\r\n");
}
