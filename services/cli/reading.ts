import { type MessageId, messageIdSchema } from "@millrace/mail";
import { type MailStore, openMailStore } from "@millrace/mailstore";
import { journalTail, redisLedger } from "@millrace/pipeline/runtime";
import { type Config, failFastRedis, loadConfig } from "@millrace/service";
import { redisSpool } from "@millrace/spool";
import { CommandError } from "./terminal.ts";

/** What the commands that only look hold: the mail store, and the live half if a Redis answers. */
export interface Reading {
  config: Config;
  mailstore: MailStore;
  /** Undefined when no Redis answers: then only what has been stored can be seen. */
  live: Live | undefined;
}

export type Live = ReturnType<typeof openLive>;

function openLive(redis: ReturnType<typeof failFastRedis>) {
  return { redis, spool: redisSpool(redis), ledger: redisLedger(redis), journal: journalTail(redis) };
}

/** Opens both halves for the time of one command. Says so on standard error when the live half is missing. */
export async function withReading<T>(use: (reading: Reading) => Promise<T>): Promise<T> {
  const config = await loadConfig();
  const mailstore = openMailStore({ directory: config.paths.mail, readOnly: true });
  const redis = failFastRedis(config.redisUrl, { lazyConnect: true, retryStrategy: () => null });
  try {
    const live = await redis.connect().then(
      () => openLive(redis),
      () => undefined,
    );
    if (!live) {
      process.stderr.write(
        "millrace: no Redis answers, so only stored messages are shown; start one with `millrace up`, or set REDIS_URL\n",
      );
    }
    return await use({ config, mailstore, live });
  } finally {
    redis.disconnect();
    mailstore.close();
  }
}

/** A message id as somebody typed it. @throws CommandError */
export function parseId(text: string): MessageId {
  const id = messageIdSchema.safeParse(text.toLowerCase());
  if (id.success) return id.data;
  throw new CommandError(
    `${JSON.stringify(text)} is not a message id; \`millrace messages list\` shows those there are`,
    2,
  );
}

export function unknownMessage(id: MessageId): CommandError {
  return new CommandError(`there is no message ${id}; \`millrace messages list\` shows those there are`);
}
