import type { AuthConfig, Logger } from "@millrace/service";
import type { Redis } from "ioredis";
import { httpCheck } from "./http-check.ts";
import { redisUsers } from "./redis-users.ts";
import type { Directory } from "./user.ts";
import { userFile } from "./user-file.ts";

/** Opens the directory that the configuration names; without one, the users in Redis. @throws StartError */
export async function openDirectory(
  config: AuthConfig | undefined,
  redis: Redis,
  log: Logger,
): Promise<Directory> {
  if (config === undefined) return redisUsers(redis);
  return "file" in config ? userFile(config.file, log) : httpCheck(config);
}
