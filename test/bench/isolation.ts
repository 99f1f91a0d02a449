import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { Installation } from "../support/millrace.ts";
import { until } from "../support/until.ts";
import { sendLoad } from "./load.ts";
import { give } from "./rate.ts";
import { quantile, type Row } from "./table.ts";
import { measure, startTimingSink } from "./timed-delivery.ts";

const perSecond = 100;
const seconds = 20;
/** Messages queued for the target that never answers. */
const queued = 10_000;

/**
 * Milliseconds from a message's 250 to its delivery at one target, with and without ten thousand messages queued for
 * another one, a webhook that never answers. They are all stored by then: parse and store are everybody's, and take
 * messages as they come.
 */
export async function isolation({
  sessions,
  say,
  interrupted,
}: {
  sessions: number;
  say: (line: string) => void;
  interrupted: AbortSignal;
}): Promise<Row[]> {
  const row = (what: string): Row => ({
    what: `p95 at ${perSecond} msg/s, ${what}`,
    system: "Millrace",
    unit: "ms",
    values: [],
  });
  const before = row("nothing else to do");
  const after = row(`${queued.toLocaleString("en")} queued for a dead webhook`);
  const rows = [before, after];

  const sink = await startTimingSink();
  const webhook = await startHangingServer();
  const installation = new Installation({
    config: {
      routes: [
        { recipients: "*@bad.example", to: { webhook: webhook.url, allowPrivate: true } },
        { recipients: "*", to: { smtp: `smtp://127.0.0.1:${sink.port}` } },
      ],
    },
  });
  const p95 = async () => {
    interrupted.throwIfAborted();
    const value = quantile(await measure(installation.port, sink, perSecond, seconds), 0.95);
    say(`isolation: p95 ${Math.round(value)} ms`);
    return value;
  };
  try {
    say("isolation: starting Millrace");
    await installation.up();
    await measure(installation.port, sink, perSecond, 3);
    before.values.push(await p95(), await p95());
    say(`isolation: sending ${queued} messages for a webhook that never answers`);
    await sendLoad(installation.port, { messages: queued, sessions, bytes: 1_024, to: "b@bad.example" });
    say("isolation: waiting until they are stored");
    await until(() => noneIsNew(installation), 120_000);
    after.values.push(await p95(), await p95());
  } catch (error) {
    if (interrupted.aborted) throw error;
    for (const each of rows.filter(({ values }) => values.length === 0)) give(each, error);
  } finally {
    await installation.remove();
    webhook.close();
    await sink.stop();
  }
  return rows;
}

/** Whether every message has been stored, and no worker has one before it that it has not looked at yet. */
async function noneIsNew(installation: Installation): Promise<boolean> {
  const { messages, workers } = await installation.json<{
    messages: Record<string, number>;
    workers: { waiting: number }[];
  }>("status");
  return messages.received === 0 && workers.every(({ waiting }) => waiting === 0);
}

/** A web server that takes every request and answers none. */
async function startHangingServer(): Promise<{ url: string; close(): void }> {
  const server = createServer((request) => void request.resume());
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}
