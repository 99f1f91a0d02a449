import type { Redis } from "ioredis";

type Word = string | number | Buffer;

/** Sends one command, its name as ioredis knows it, and resolves with its reply. */
export type Send = <Reply>(command: string, ...args: Word[]) => Promise<Reply>;

interface Waiting {
  words: [string, ...Word[]];
  resolve(reply: unknown): void;
  reject(error: Error): void;
}

/** Most commands in one write. */
const atOnce = 500;

/**
 * Sends the commands of one turn of the event loop in one write: a busy process makes one system call where it
 * would make a hundred, and Redis reads, executes and fsyncs them together. None waits for another's reply.
 */
export function coalescing(redis: Redis): Send {
  const waiting: Waiting[] = [];

  const flush = async () => {
    const batch = waiting.splice(0, atOnce);
    if (waiting.length > 0) setImmediate(flush);
    const [only] = batch;
    if (only && batch.length === 1) return void alone(redis, only.words).then(only.resolve, only.reject);
    let results: [Error | null, unknown][];
    try {
      results = (await redis.pipeline(batch.map(({ words }) => words)).exec()) ?? [];
    } catch (error) {
      for (const { reject } of batch) reject(error as Error);
      return;
    }
    for (const [index, { words, resolve, reject }] of batch.entries()) {
      const [error, reply] = results[index] ?? [new Error("Redis gave no reply"), undefined];
      if (!error) resolve(reply);
      // A pipeline takes its scripts for known; sent alone, a script that Redis has forgotten is sent again.
      else if (error.message.startsWith("NOSCRIPT")) alone(redis, words).then(resolve, reject);
      else reject(error);
    }
  };

  return <Reply>(...words: [string, ...Word[]]) =>
    new Promise<Reply>((resolve, reject) => {
      waiting.push({ words, resolve: resolve as (reply: unknown) => void, reject });
      if (waiting.length === 1) setImmediate(flush);
    });
}

function alone(redis: Redis, [command, ...args]: [string, ...Word[]]): Promise<unknown> {
  const commands = redis as unknown as Record<string, (...args: Word[]) => Promise<unknown>>;
  return (commands[command] as (...args: Word[]) => Promise<unknown>).apply(redis, args);
}
