import { readPressure } from "@millrace/pipeline/runtime";
import { type Config, durabilityProblems, failFastRedis, maskSecrets } from "@millrace/service";
import { octets } from "../../terminal.ts";
import { type Finding, failure, ok, skipped, warning } from "../finding.ts";
import { checkRedisClock } from "./clock.ts";

type Redis = ReturnType<typeof failFastRedis>;

/** Milliseconds for a question that costs Redis nothing. */
const slow = 250;

/** Redis: whether it answers, keeps what it is given, has room, and has our time. */
export async function checkRedis(config: Config, timeout: number): Promise<Finding[]> {
  const redis = failFastRedis(config.redisUrl, {
    lazyConnect: true,
    retryStrategy: () => null,
    connectTimeout: timeout,
    commandTimeout: timeout,
    socketTimeout: timeout + 1_000,
  });
  try {
    const answers = await checkAnswer(redis, config);
    if (answers.status === "failure") return [answers];
    const checks: [string, () => Promise<Finding[]>][] = [
      ["redis durability", () => checkDurability(redis)],
      ["redis disk", () => checkWrites(redis)],
      ["redis room", () => checkRoom(redis, config)],
      ["clock", async () => [await checkRedisClock(redis)]],
    ];
    const findings = [answers];
    for (const [check, run] of checks)
      findings.push(
        ...(await run().catch((error: Error) => [skipped(check, `Redis did not tell: ${error.message}`)])),
      );
    return findings;
  } finally {
    redis.disconnect();
  }
}

async function checkAnswer(redis: Redis, config: Config): Promise<Finding> {
  const check = "redis";
  const at = String(maskSecrets(config.redisUrl));
  try {
    await redis.connect();
    const started = performance.now();
    await redis.ping();
    const ms = Math.round(performance.now() - started);
    const version = /^redis_version:(\S+)/m.exec(await redis.info("server"))?.[1] ?? "of unknown version";
    const seen = `Redis ${version} at ${at} answers in ${ms} ms`;
    if (ms < slow) return ok(check, seen, { pingMs: ms });
    return warning(
      check,
      seen,
      "Something keeps it busy: redis-cli slowlog get, and its machine's processor and disk.",
      { pingMs: ms },
    );
  } catch (error) {
    return failure(
      check,
      `${at} does not answer: ${(error as Error).message}`,
      config.redisIsOurs
        ? "Start it: millrace up runs one of its own; var/redis/redis.log says why it ended."
        : "Start it, or correct REDIS_URL. If its process is there and silent, it stands still, or its disk does.",
    );
  }
}

/** appendonly, appendfsync, maxmemory-policy: what every start asks for. */
async function checkDurability(redis: Redis): Promise<Finding[]> {
  const problems = await durabilityProblems(redis);
  if (problems.length === 0)
    return [ok("redis durability", "appendonly yes, appendfsync always, maxmemory-policy noeviction")];
  return problems.map((problem) => {
    const [seen, cure] = problem.split(/: (?=run |allow )/) as [string, string?];
    return failure("redis durability", seen, `${capital(cure ?? "Correct redis.conf")}.`);
  });
}

/** Whether what it wrote got to the disk. */
async function checkWrites(redis: Redis): Promise<Finding[]> {
  const check = "redis disk";
  const info = await redis.info("persistence");
  const state = (name: string) => new RegExp(`^${name}:(\\S+)`, "m").exec(info)?.[1];
  const failed = ["aof_last_write_status", "aof_last_bgrewrite_status"].filter(
    (name) => (state(name) ?? "ok") !== "ok",
  );
  if (failed.length === 0) return [ok(check, "last write and last rewrite of its file went well")];
  return failed.map((name) =>
    failure(
      check,
      `${name} is ${state(name)}`,
      name === "aof_last_write_status"
        ? "It refuses to write until its disk takes writes again: df -h of its dir, and its log."
        : "Its file grows without end: give it memory (vm.overcommit_memory=1) and room on the disk, then BGREWRITEAOF; its log says more.",
    ),
  );
}

async function checkRoom(redis: Redis, config: Config): Promise<Finding[]> {
  const check = "redis room";
  const { memory, marks, reasons, backlog } = await readPressure(redis, config.settings);
  const share = Math.round((100 * memory.used) / memory.limit);
  const seen = `${octets(memory.used)} of ${octets(memory.limit)} (${share} %), ${backlog} messages not stored yet`;
  const figures = { usedBytes: memory.used, backlog };
  if (reasons.length > 0)
    return [
      {
        ...failure(
          check,
          `new mail gets 452: ${reasons.join("; ")}`,
          "See that parse and store run, and start more; or give it room (README: When something fills up).",
        ),
        figures,
      },
    ];
  if (!memory.limited)
    return [
      warning(
        check,
        `${seen}; it has no maxmemory, so that the system may kill it`,
        "Set maxmemory to about 40 % of its machine's memory, in redis.conf and by CONFIG SET.",
        figures,
      ),
    ];
  return [ok(check, `${seen}; from ${Math.round(100 * marks.memoryHigh)} % on new mail gets 452`, figures)];
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
