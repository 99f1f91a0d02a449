import { existsSync } from "node:fs";
import { type MailStore, openMailStore } from "@millrace/mailstore";
import { type JournalTail, journalTail, openQueues, type Queues } from "@millrace/pipeline";
import { type Config, exitStatus, loadConfig, maskSecrets, patientRedis } from "@millrace/service";
import { redisSpool, type Spool } from "@millrace/spool";
import { CommandError } from "./terminal.ts";

type Redis = ReturnType<typeof patientRedis>;

/** What the commands hold that take mail away: the mail store opened for writing, and Redis. */
export interface Writing {
  config: Config;
  mailstore: MailStore;
  redis: Redis;
  spool: Spool;
  journal: JournalTail;
  queues: Queues;
}

/** Opens both for the time of one command. @throws CommandError when one of them is not there */
export async function withWriting<T>(use: (writing: Writing) => Promise<T>): Promise<T> {
  const config = await loadConfig();
  // Opening it for writing would make one, and say that there was nothing.
  if (!existsSync(config.paths.mail)) {
    throw new CommandError(
      `there is no mail store in ${config.paths.mail}: run this where \`millrace up\` runs, or set MILLRACE_DATA_DIR`,
    );
  }
  const redis = patientRedis(config.redisUrl, { lazyConnect: true });
  const queues = openQueues(redis);
  let mailstore: MailStore | undefined;
  try {
    await firstConnection(redis, config);
    mailstore = openMailStore({ directory: config.paths.mail });
    const live = { redis, spool: redisSpool(redis), journal: journalTail(redis), queues };
    return await use({ config, mailstore, ...live });
  } finally {
    await queues.close();
    redis.disconnect();
    mailstore?.close();
  }
}

/** Waiting as long as it takes is for later: at the start, a Redis that is not there is a mistake. */
async function firstConnection(redis: Redis, config: Config): Promise<void> {
  const lost = Promise.withResolvers<never>();
  redis.once("close", () => lost.reject(new Error("closed")));
  lost.promise.catch(() => {});
  try {
    await Promise.race([redis.connect(), lost.promise]);
  } catch {
    throw new CommandError(
      `no Redis answers at ${maskSecrets(config.redisUrl)}, so nobody can tell which messages are in flight; start it with \`millrace up\`, or set REDIS_URL`,
      exitStatus.unavailable,
    );
  }
}
