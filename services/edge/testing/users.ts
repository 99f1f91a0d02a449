import { once } from "node:events";
import { redisUsers } from "@millrace/auth";
import { failFastRedis } from "@millrace/service";
import type { SmtpDialogue } from "@millrace/test/smtp-dialogue";

/** Adds users to the Redis at `redisUrl`: name -> password, and the reverse-paths they may use. */
export async function addUsers(
  redisUrl: string,
  users: Record<string, { password: string; reversePaths?: string[] }>,
): Promise<void> {
  const redis = failFastRedis(redisUrl);
  await once(redis, "ready");
  const directory = redisUsers(redis);
  for (const [name, { password, reversePaths = [] }] of Object.entries(users))
    await directory.add({ name, reversePaths }, password);
  redis.disconnect();
}

export const base64 = (text: string) => Buffer.from(text).toString("base64");

/** The argument of AUTH PLAIN (RFC 4616). */
export const plain = (name: string, password: string, actAs = "") => base64(`${actAs}\0${name}\0${password}`);

/** AUTH PLAIN, up to the reply that is expected. */
export async function authenticate(
  client: SmtpDialogue,
  name: string,
  password: string,
  reply = "235 2.7.0 ",
): Promise<void> {
  await client.send(`AUTH PLAIN ${plain(name, password)}`);
  await client.expect(reply);
}
