import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { SMTPServer } from "smtp-server";
import { Sender } from "./sender.ts";

const connections = 20;

/** An SMTP server that notes when each message was there. */
export interface TimingSink {
  port: number;
  /** When each message was there as a whole, by its number. */
  deliveredAt: Map<number, number>;
  stop(): Promise<void>;
}

export async function startTimingSink(): Promise<TimingSink> {
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

/**
 * Sends so many messages a second to `b@x.example`, and gives the milliseconds from each one's 250 to its delivery.
 * Sender and sink are in this process, so that one clock tells both times.
 */
export async function measure(
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
