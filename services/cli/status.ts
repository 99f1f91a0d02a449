import { type MessageState, messageStates } from "@millrace/mail";
import { openQueues, openSubscriptions, readPressure } from "@millrace/pipeline/runtime";
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
async function readStatus({ config, mailstore, live }: Reading) {
  const messages: Record<MessageState, number> = mailstore.counts();
  if (!live)
    return {
      ...{ messages, spool: null, inFlight: null, journalBacklog: null, workers: null },
      ...{ redis: null, disks: null, intake: null },
    };
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
  const { memory, marks, disks, reasons } = await readPressure(live.redis, config.settings);
  return {
    messages,
    spool: { messages: backlog.messages, oldestMs: backlog.oldest ?? null },
    inFlight: await live.ledger.openCount(),
    journalBacklog: await live.journal.length(),
    workers,
    redis: {
      usedBytes: memory.used,
      /** Its `maxmemory`; where that is 0, its machine's memory. */
      maxBytes: memory.limit,
      share: memory.used / memory.limit,
      highMark: marks.memoryHigh,
      lowMark: marks.memoryLow,
    },
    disks: disks.map(({ name, folder, freeBytes, totalBytes, minFreeBytes }) => {
      return { name, folder, freeBytes, totalBytes, minFreeBytes };
    }),
    intake: { refusing: reasons.length > 0, reasons },
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
  const { workers, spool, redis, disks, intake } = status;
  if (!workers || !spool || !redis || !disks || !intake) return out;
  const oldest = spool.oldestMs === null ? "" : `, the oldest ${duration(spool.oldestMs)} old`;
  out += `\n${colour.dim("in flight")} ${status.inFlight}, ${spool.messages} bodies in the spool${oldest}\n`;
  out += `${colour.dim("redis")} ${octets(redis.usedBytes)} used of ${octets(redis.maxBytes)} (${percent(redis.share)})`;
  out += `, refuses new mail from ${percent(redis.highMark)} until below ${percent(redis.lowMark)}\n`;
  for (const { name, folder, freeBytes, minFreeBytes } of disks) {
    out += `${colour.dim(`disk of ${name}`)} ${octets(freeBytes)} free, at least ${octets(minFreeBytes)} needed (${folder})\n`;
  }
  const refused = `${colour.red("refuses new mail with 452")}: ${intake.reasons.join("; ")}`;
  out += `${colour.dim("intake")} ${intake.refusing ? refused : "has room for new mail"}\n\n`;
  return (
    out +
    table(
      ["worker", "waiting", "active", "delayed", "on"],
      workers.map(({ worker, waiting, active, delayed, events }) => [
        worker,
        String(waiting),
        String(active),
        String(delayed),
        events.join(", "),
      ]),
    )
  );
}

function percent(share: number): string {
  return `${Math.round(100 * share)} %`;
}
