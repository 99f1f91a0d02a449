import { type MessageState, messageStates } from "@millrace/mail";
import { openQueues, openSubscriptions } from "@millrace/pipeline";
import type { Command } from "commander";
import { type Reading, withReading } from "./reading.ts";
import { colour, duration, octets, print, printJson, table } from "./terminal.ts";

export function addStatusCommand(program: Command): void {
  program
    .command("status")
    .description("how many messages are where, what each worker has to do, how Redis is")
    .option("--json", "as JSON")
    .action((options: { json?: boolean }) =>
      withReading(async (reading) => {
        const status = await readStatus(reading);
        if (options.json) await printJson(status);
        else await print(render(status));
      }),
    );
}

type Status = Awaited<ReturnType<typeof readStatus>>;

/** Every figure costs the same however many messages there are. */
async function readStatus({ mailstore, live }: Reading) {
  const messages: Record<MessageState, number> = mailstore.counts();
  if (!live)
    return { messages, spool: null, inFlight: null, journalBacklog: null, workers: null, redis: null };
  const backlog = await live.spool.backlog();
  messages.received += backlog.messages;
  const subscriptions = await openSubscriptions(live.redis);
  const queues = openQueues(live.redis);
  const workers = [];
  for (const { worker, events, since } of subscriptions.all()) {
    workers.push({ worker, events, since: new Date(since).toISOString(), ...(await queues.counts(worker)) });
  }
  subscriptions.close();
  await queues.close();
  const info = await live.redis.info("memory");
  const figure = (name: string) => Number(new RegExp(`^${name}:(\\d+)`, "m").exec(info)?.[1] ?? 0);
  return {
    messages,
    spool: { messages: backlog.messages, oldestMs: backlog.oldest ?? null },
    inFlight: await live.ledger.openCount(),
    journalBacklog: await live.journal.length(),
    workers,
    redis: { usedBytes: figure("used_memory"), maxBytes: figure("maxmemory") },
  };
}

function render(status: Status): string {
  let out = table(
    ["messages", "count", ""],
    Object.entries(status.messages).map(([state, count]) => [
      state,
      String(count),
      messageStates[state as MessageState],
    ]),
  );
  if (!status.workers || !status.spool || !status.redis) return out;
  const oldest = status.spool.oldestMs === null ? "" : `, the oldest ${duration(status.spool.oldestMs)} old`;
  out += `\n${colour.dim("in flight")} ${status.inFlight}, ${status.spool.messages} bodies in the spool${oldest}\n`;
  out += `${colour.dim("redis")} ${octets(status.redis.usedBytes)} used`;
  out += status.redis.maxBytes ? ` of ${octets(status.redis.maxBytes)}\n\n` : "\n\n";
  return (
    out +
    table(
      ["worker", "waiting", "active", "delayed", "on"],
      status.workers.map(({ worker, waiting, active, delayed, events }) => [
        worker,
        String(waiting),
        String(active),
        String(delayed),
        events.join(", "),
      ]),
    )
  );
}
