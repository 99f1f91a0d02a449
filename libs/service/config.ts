import { existsSync, readFileSync } from "node:fs";
import { hostname as machineName } from "node:os";
import { extname, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import {
  type Delivery,
  deliverySchema,
  type Route,
  routeSchema,
  type TargetConfig,
  targetSchema,
} from "@millrace/mail";
import { parse as parseYaml } from "yaml";
import { z } from "zod";
import { type AuthConfig, authSchema } from "./auth-config.ts";
import { cidrProblems } from "./cidr.ts";
import {
  type Listener,
  listenerOfSettings,
  listenerSchema,
  listenersOf,
  maybeSecure,
  type PortInUse,
  portProblems,
  shifted,
  tlsModeOf,
} from "./listeners.ts";
import {
  type LocalProxy,
  listenersOfProxy,
  localProxyOf,
  localProxyProblems,
  withProxyDefaults,
} from "./local-proxy.ts";
import { type PolicyConfig, policySchema } from "./policy-config.ts";
import { type SettingName, type Settings, settings } from "./settings.ts";

/** The structured half of the configuration: what stands in `millrace.config.{ts,yaml,json}`. */
export const configFileSchema = z.strictObject({
  /** Name this installation goes by in its greeting, its Received fields and its DSNs. */
  hostname: z.string().min(1).optional(),
  routes: z.array(routeSchema).min(1).optional(),
  relay: targetSchema.optional(),
  /** What the edge listens on. Without it, one address: that of SMTP_HOST, SMTP_PORT and their neighbours. */
  listeners: z.array(listenerSchema).min(1).optional(),
  /** When mail may be delivered. */
  delivery: deliverySchema.optional(),
  /** Configuration of workers of your own, under each worker's name. */
  workers: z.record(z.string(), z.unknown()).optional(),
  /** Who is asked about each transaction, in this order. */
  policies: z.array(policySchema).optional(),
  /** Who knows the users, and their passwords. Without it, those in Redis. */
  auth: authSchema.optional(),
});
export type ConfigFile = z.input<typeof configFileSchema>;

/** The resolved configuration: defaults, environment and file in one, validated. */
export interface Config {
  settings: Settings;
  hostname: string;
  /** What an edge listens on, with the ports of the one that EDGE_NUMBER says. */
  listeners: Listener[];
  /** Where it tells how it is; undefined when nowhere. */
  health: { host: string; port: number } | undefined;
  /** The proxy that `millrace up` runs before the edges; its listeners are among those above. */
  proxy: LocalProxy | undefined;
  routes: Route[];
  relay: TargetConfig | undefined;
  delivery: Delivery;
  workers: Record<string, unknown>;
  /** With absolute files. */
  policies: PolicyConfig[];
  /** Who knows the users; undefined for those in Redis. With an absolute file. */
  auth: AuthConfig | undefined;
  /** The configuration file that was read; undefined when there is none. */
  file: string | undefined;
  /** Folder relative paths start from. */
  root: string;
  /** Absolute folders under MILLRACE_DATA_DIR. */
  paths: { data: string; redis: string; mail: string; maildir: string };
  redisUrl: string;
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

const dataFolder = settings.MILLRACE_DATA_DIR.fallback as string;
const developmentFolder = "./.millrace";
const fileNames = [
  "millrace.config.ts",
  "millrace.config.yaml",
  "millrace.config.yml",
  "millrace.config.json",
];

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
  const values = readSettings(withProxyDefaults(env), problems);
  const file = await readConfigFile(values.MILLRACE_CONFIG, root, problems);
  const content = file
    ? checkConfigFile(file.name, resolveSecrets(file.content, env, problems), problems)
    : {};
  if (content.listeners) problems.push(...settingsBesideListeners(env));
  else problems.push(...listenerProblems(values, root));
  problems.push(...localProxyProblems(values, root));
  problems.push(...cidrProblems("SMTP_LIMIT_EXEMPT", values.SMTP_LIMIT_EXEMPT));
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

  const data = resolve(root, env.MILLRACE_DATA_DIR ? values.MILLRACE_DATA_DIR : dataFolderIn(root));
  const proxy = localProxyOf(values, root, data);
  const listeners = [
    ...(content.listeners
      ? listenersOf(content.listeners, values, root)
      : [listenerOfSettings(values, root)]),
    ...(proxy ? listenersOfProxy(proxy, values) : []),
  ];
  const health =
    values.HEALTH_PORT === undefined
      ? undefined
      : { host: values.HEALTH_HOST, port: shifted(values.HEALTH_PORT, values.EDGE_NUMBER) };
  const portsWrong = portProblems(edgePorts({ listeners, health }), 1);
  const names = listeners.map(({ name }) => name);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice) portsWrong.push(`listeners: two have the name ${twice}; give each a name of its own`);
  if (portsWrong.length > 0) throw new ConfigError(portsWrong);
  if (values.SMTP_ENABLE_AUTH && !listeners.some(maybeSecure)) {
    throw new ConfigError([
      `SMTP_ENABLE_AUTH=true, but no session can ever be secure, and passwords are taken in no other: set ${content.listeners ? "tls of a listener" : "SMTP_TLS_MODE"} to starttls, implicit or proxy, or SMTP_ENABLE_AUTH=false`,
    ]);
  }

  const paths = { data, redis: `${data}/redis`, mail: `${data}/mail`, maildir: `${data}/maildir` };
  return {
    settings: values,
    hostname: content.hostname ?? machineName(),
    listeners,
    health,
    proxy,
    routes: (
      content.routes ?? [{ recipients: ["*"], to: [{ maildir: `${paths.maildir}/{recipient}` }] }]
    ).map((route) => absoluteMaildirs(route, root)),
    relay: content.relay,
    delivery: content.delivery ?? deliverySchema.parse({}),
    workers: content.workers ?? {},
    policies: (content.policies ?? []).map((policy) =>
      "file" in policy ? { ...policy, file: resolve(root, policy.file) } : policy,
    ),
    auth: content.auth && "file" in content.auth ? { file: resolve(root, content.auth.file) } : content.auth,
    file: file?.name,
    root,
    paths,
    redisUrl: values.REDIS_URL ?? `unix://${paths.redis}/redis.sock`,
    redisIsOurs: !values.REDIS_URL,
  };
}

/** Where `millrace dev` alone has run, every command finds what it has made. */
function dataFolderIn(root: string): string {
  const own = existsSync(resolve(root, developmentFolder)) && !existsSync(resolve(root, dataFolder));
  return own ? developmentFolder : dataFolder;
}

/** What an edge of this configuration listens on. */
export function edgePorts({ listeners, health }: Pick<Config, "listeners" | "health">): PortInUse[] {
  const ports = listeners.map(({ host, port, called }) => ({ host, port, called: called.port }));
  return health ? [...ports, { ...health, called: "HEALTH_PORT" }] : ports;
}

/** What describes a listener in the environment. */
const listenerSettings: SettingName[] = [
  "SMTP_HOST",
  "SMTP_PORT",
  "SMTP_ENABLE_TLS",
  "SMTP_TLS_MODE",
  "SMTP_TLS_CERT",
  "SMTP_TLS_KEY",
  "SMTP_PROXY_PROTOCOL_FROM",
];

/** Two places that both say where to listen, and how safely: one of them would be ignored. */
function settingsBesideListeners(env: Record<string, string | undefined>): string[] {
  return listenerSettings
    .filter((name) => env[name])
    .map((name) => `${name}=${env[name]} has no effect beside listeners: leave it out, and write it there`);
}

function listenerProblems(values: Settings, root: string): string[] {
  const problems: string[] = [];
  const mode = tlsModeOf(values);
  if (values.SMTP_ENABLE_TLS && mode !== "starttls" && mode !== "implicit") {
    problems.push(`SMTP_TLS_MODE=${mode} contradicts SMTP_ENABLE_TLS=true: leave one of them out`);
  }
  if (mode === "starttls" || mode === "implicit") {
    const asked = values.SMTP_TLS_MODE ? `SMTP_TLS_MODE is ${mode}` : "SMTP_ENABLE_TLS is true";
    for (const name of ["SMTP_TLS_CERT", "SMTP_TLS_KEY"] as const) {
      const path = values[name];
      if (!path)
        problems.push(`${name} is not set, but ${asked}: name a PEM file, or set SMTP_ENABLE_TLS=false`);
      else if (!existsSync(resolve(root, path)))
        problems.push(`${name}=${path}: there is no such file; name a PEM file`);
    }
  }
  problems.push(...cidrProblems("SMTP_PROXY_PROTOCOL_FROM", values.SMTP_PROXY_PROTOCOL_FROM));
  return problems;
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
    listeners: config.listeners.map(printableListener),
    health: config.health ?? null,
    routes: config.routes,
    relay: config.relay ?? null,
    delivery: config.delivery,
    workers: config.workers,
    policies: config.policies,
    auth: config.auth ?? null,
    settings: scalars,
  }) as Record<string, unknown>;
}

function printableListener({ name, host, port, tls, certificate, names, proxies }: Listener): unknown {
  return {
    name,
    host,
    port,
    tls,
    ...(certificate && { cert: certificate.cert, key: certificate.key }),
    ...(names.length > 0 && {
      names: names.map(({ serverNames, cert, key }) => ({ serverNames, cert, key })),
    }),
    ...(proxies && { proxyProtocol: { from: proxies } }),
  };
}
