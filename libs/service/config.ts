import { existsSync, readFileSync } from "node:fs";
import { hostname as machineName } from "node:os";
import { extname, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { type Route, routeSchema, type TargetConfig, targetSchema } from "@millrace/mail";
import { parse as parseYaml } from "yaml";
import { z } from "zod";
import { type SettingName, type Settings, settings } from "./settings.ts";

/** The structured half of the configuration: what stands in `millrace.config.{ts,yaml,json}`. */
export const configFileSchema = z.strictObject({
  /** Name this installation goes by in its greeting, its Received fields and its DSNs. */
  hostname: z.string().min(1).optional(),
  routes: z.array(routeSchema).min(1).optional(),
  relay: targetSchema.optional(),
  /** Configuration of workers of your own, under each worker's name. */
  workers: z.record(z.string(), z.unknown()).optional(),
});
export type ConfigFile = z.input<typeof configFileSchema>;

/** The resolved configuration: defaults, environment and file in one, validated. */
export interface Config {
  settings: Settings;
  hostname: string;
  routes: Route[];
  relay: TargetConfig | undefined;
  workers: Record<string, unknown>;
  /** The configuration file that was read; undefined when there is none. */
  file: string | undefined;
  /** Folder relative paths start from. */
  root: string;
  /** Absolute folders under MILLRACE_DATA_DIR. */
  paths: { data: string; redis: string; mail: string; maildir: string };
  redisUrl: string;
  /** PATH: where a `redis-server` is looked for. */
  searchPath: string;
  /** Whether the Redis is one that `millrace up` runs itself. */
  redisIsOurs: boolean;
}

/** What is wrong with the configuration, in lines that each name the key, the value and the cure. */
export class ConfigError extends Error {
  override name = "ConfigError";
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(problems.join("\n"));
    this.problems = problems;
  }
}

const fileNames = [
  "millrace.config.ts",
  "millrace.config.yaml",
  "millrace.config.yml",
  "millrace.config.json",
];
/** Names in the guide that this version knows of and cannot honour: saying nothing would be an open door. */
const notYet: Record<string, string> = {
  SMTP_ENABLE_AUTH: "this version has no AUTH; leave it out, or set it to false",
};

/**
 * Reads and validates the configuration.
 *
 * @param env the environment, normally `process.env`
 * @param root folder that relative paths start from, normally the working folder
 * @throws ConfigError with every problem found, not only the first
 */
export async function loadConfig(
  env: Record<string, string | undefined> = process.env,
  root: string = process.cwd(),
): Promise<Config> {
  const problems: string[] = [];
  const values = readSettings(env, problems);
  const file = await readConfigFile(values.MILLRACE_CONFIG, root, problems);
  const content = file
    ? checkConfigFile(file.name, resolveSecrets(file.content, env, problems), problems)
    : {};
  if (values.SMTP_ENABLE_TLS) {
    for (const name of ["SMTP_TLS_CERT", "SMTP_TLS_KEY"] as const) {
      const path = values[name];
      if (!path)
        problems.push(
          `${name} is not set, but SMTP_ENABLE_TLS is true: name a PEM file, or set SMTP_ENABLE_TLS=false`,
        );
      else if (!existsSync(resolve(root, path)))
        problems.push(`${name}=${path}: there is no such file; name a PEM file`);
    }
  }
  const { REDIS_MEMORY_HIGH_PERCENT: high, REDIS_MEMORY_LOW_PERCENT: low } = values;
  if (low >= high) {
    problems.push(
      `REDIS_MEMORY_LOW_PERCENT=${low} is not below REDIS_MEMORY_HIGH_PERCENT=${high}: lower the one, or raise the other`,
    );
  }
  if (values.REDIS_URL && !/^(rediss?|unix):\/\//.test(values.REDIS_URL)) {
    problems.push(
      "REDIS_URL is not a Redis address; write redis://host:port, rediss://host:port or unix:///path",
    );
  }
  if (problems.length > 0) throw new ConfigError(problems);

  const data = resolve(root, values.MILLRACE_DATA_DIR);
  const paths = { data, redis: `${data}/redis`, mail: `${data}/mail`, maildir: `${data}/maildir` };
  return {
    settings: values,
    hostname: content.hostname ?? machineName(),
    routes: (
      content.routes ?? [{ recipients: ["*"], to: [{ maildir: `${paths.maildir}/{recipient}` }] }]
    ).map((route) => absoluteMaildirs(route, root)),
    relay: content.relay,
    workers: content.workers ?? {},
    file: file?.name,
    root,
    paths,
    redisUrl: values.REDIS_URL ?? `unix://${paths.redis}/redis.sock`,
    searchPath: env.PATH ?? "",
    redisIsOurs: !values.REDIS_URL,
  };
}

function readSettings(env: Record<string, string | undefined>, problems: string[]): Settings {
  const values: Record<string, unknown> = {};
  for (const [name, setting] of Object.entries(settings)) {
    const result = setting.schema.safeParse(env[name]);
    if (result.success) values[name] = result.data;
    else {
      const shown = setting.secret ? "(hidden)" : JSON.stringify(env[name]);
      const fallback =
        setting.fallback === undefined ? "leave it out" : `leave it out for ${setting.fallback}`;
      problems.push(
        `${name}=${shown} is not allowed: give a ${setting.allowed.replaceAll("`", "")}, or ${fallback}`,
      );
    }
  }
  for (const [name, cure] of Object.entries(notYet)) {
    const value = env[name];
    if (value && !["false", "0", "no"].includes(value.toLowerCase()))
      problems.push(`${name}=${value}: ${cure}`);
  }
  return values as Settings;
}

async function readConfigFile(
  named: string | undefined,
  root: string,
  problems: string[],
): Promise<{ name: string; content: unknown } | undefined> {
  const name = named ? resolve(root, named) : fileNames.map((each) => resolve(root, each)).find(existsSync);
  if (!name) return undefined;
  if (!existsSync(name)) {
    problems.push(`MILLRACE_CONFIG=${named}: there is no such file; correct the path, or leave it out`);
    return undefined;
  }
  try {
    if (extname(name) === ".ts") {
      const module = (await import(pathToFileURL(name).href)) as { default?: unknown };
      return { name, content: module.default };
    }
    return { name, content: parseYaml(readFileSync(name, "utf8")) ?? {} };
  } catch (error) {
    problems.push(`${name} cannot be read: ${(error as Error).message.split("\n")[0]}`);
    return undefined;
  }
}

function checkConfigFile(
  name: string,
  content: unknown,
  problems: string[],
): z.infer<typeof configFileSchema> {
  const result = configFileSchema.safeParse(content);
  if (result.success) return result.data;
  for (const issue of result.error.issues) {
    const path = issue.path.reduce<string>(
      (whole, key) =>
        typeof key === "number" ? `${whole}[${key}]` : whole ? `${whole}.${String(key)}` : String(key),
      "",
    );
    const value = issue.path.reduce<unknown>(
      (at, key) => (at as Record<PropertyKey, unknown>)?.[key],
      content,
    );
    problems.push(`${name}: ${path || "(the whole)"} = ${abbreviated(value)}: ${issue.message}`);
  }
  return {};
}

/** `env:NAME` anywhere in the file stands for a value of the environment: secrets stay out of files. */
function resolveSecrets(
  content: unknown,
  env: Record<string, string | undefined>,
  problems: string[],
): unknown {
  if (typeof content === "string" && content.startsWith("env:")) {
    const name = content.slice(4);
    const value = env[name];
    if (value === undefined)
      problems.push(`the configuration file names env:${name}, which is not set: set ${name}`);
    return value;
  }
  if (Array.isArray(content)) return content.map((each) => resolveSecrets(each, env, problems));
  if (content && typeof content === "object") {
    return Object.fromEntries(
      Object.entries(content).map(([key, value]) => [key, resolveSecrets(value, env, problems)]),
    );
  }
  return content;
}

function absoluteMaildirs(route: Route, root: string): Route {
  const absolute = (target: TargetConfig): TargetConfig =>
    "maildir" in target ? { maildir: resolve(root, target.maildir) } : target;
  return { ...route, to: route.to.map(absolute) };
}

function abbreviated(value: unknown): string {
  const shown = JSON.stringify(maskSecrets(value)) ?? "(nothing)";
  return shown.length > 120 ? `${shown.slice(0, 117)}...` : shown;
}

const secretKeys = /^(password|secret|token|apikey|api_key)$/i;

/** A copy with every secret replaced: passwords and tokens by their key, and those within URLs. */
export function maskSecrets(value: unknown): unknown {
  if (typeof value === "string") return value.replace(/^([a-z+]+:\/\/[^/:@\s]*):[^/@\s]*@/i, "$1:***@");
  if (Array.isArray(value)) return value.map(maskSecrets);
  if (value && typeof value === "object") {
    return Object.fromEntries(
      Object.entries(value).map(([key, each]) => [
        key,
        secretKeys.test(key) && each ? "***" : maskSecrets(each),
      ]),
    );
  }
  return value;
}

/** The configuration as `millrace config` prints it. */
export function printableConfig(config: Config): Record<string, unknown> {
  const scalars = Object.fromEntries(
    (Object.keys(settings) as SettingName[]).map((name) => [name, config.settings[name] ?? null]),
  );
  return maskSecrets({
    file: config.file ?? null,
    hostname: config.hostname,
    redis: config.redisUrl,
    routes: config.routes,
    relay: config.relay ?? null,
    workers: config.workers,
    settings: scalars,
  }) as Record<string, unknown>;
}
