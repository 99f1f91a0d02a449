import type { Socket } from "node:net";
import { Redis, type RedisOptions } from "ioredis";

/** What makes a client fail fast. */
export const failFast: RedisOptions = {
  enableOfflineQueue: false,
  autoResendUnfulfilledCommands: false,
  maxRetriesPerRequest: 0,
  commandTimeout: 3_000,
  socketTimeout: 4_000,
  connectTimeout: 2_000,
  retryStrategy: (times) => Math.min(50 * 2 ** times, 1_000),
};

/**
 * A client for whoever must answer somebody in time: it never queues a command for later, and a command that
 * gets no answer fails. 1 ms when Redis is dead, `commandTimeout` when it is frozen.
 * A command that timed out *may still have run*: its outcome is unknown, not negative.
 */
export function failFastRedis(url: string, options: RedisOptions = {}): Redis {
  return connect(url, { ...failFast, ...options });
}

/** A client for workers: it waits for Redis as long as it takes. */
export function patientRedis(url: string, options: RedisOptions = {}): Redis {
  return connect(url, {
    maxRetriesPerRequest: null,
    retryStrategy: (times) => Math.min(50 * 2 ** times, 2_000),
    ...options,
  });
}

function connect(url: string, options: RedisOptions): Redis {
  const redis = url.startsWith("unix://")
    ? new Redis({ ...options, path: url.slice("unix://".length) })
    : new Redis(url, options);
  redis.on("connect", () => oneWriteATurn((redis as unknown as { stream: Socket }).stream));
  // Every command reports its own failure; without a listener ioredis prints each lost connection as well.
  redis.on("error", () => {});
  return redis;
}

/**
 * Lets the commands of one turn of the event loop leave in one system call: a busy process sends a dozen at a
 * time, and Redis then reads, executes and fsyncs them together. (ioredis's own pipelines do the same, and cost
 * more than the calls they save: making one copies hundreds of methods.)
 */
function oneWriteATurn(socket: Socket): void {
  const write = socket.write.bind(socket);
  let corked = false;
  socket.write = ((...args: Parameters<Socket["write"]>) => {
    if (!corked) {
      corked = true;
      socket.cork();
      setImmediate(() => {
        corked = false;
        socket.uncork();
      });
    }
    return write(...args);
  }) as Socket["write"];
}

/**
 * What keeps a Redis from being a safe place for mail, as lines that name the setting, its value and the cure.
 * Empty when all is well.
 */
export async function durabilityProblems(redis: Redis): Promise<string[]> {
  const wanted = { appendonly: "yes", appendfsync: "always", "maxmemory-policy": "noeviction" } as const;
  const problems: string[] = [];
  for (const [key, value] of Object.entries(wanted)) {
    let found: string | undefined;
    try {
      found = ((await redis.config("GET", key)) as string[])[1];
    } catch {
      problems.push(`Redis does not tell its ${key} (CONFIG is not allowed): allow CONFIG GET for this user`);
      continue;
    }
    if (found !== value) {
      problems.push(
        `Redis has ${key}=${found ?? "(unset)"}, with which accepted mail can be lost: run CONFIG SET ${key} ${value}, and put it in redis.conf`,
      );
    }
  }
  return problems;
}
