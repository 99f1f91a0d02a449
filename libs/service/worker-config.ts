import { z } from "zod";
import { type Config, ConfigError, maskSecrets } from "./config.ts";
import { settings } from "./settings.ts";

/**
 * Configures a worker: `workers.<name>` of the configuration file, and over it, for each key of the schema,
 * `<NAME>_<KEY>` of the environment: `INVOICES_MAX_PAGES` is `maxPages` of the worker `invoices`. A variable's text is
 * taken as it is where the schema takes text, else as JSON: `7`, `true`, `["a","b"]`.
 *
 * @returns what the schema makes of it
 * @throws ConfigError with every key that is wrong, its value, and what is allowed
 */
export function workerConfig<Schema extends z.ZodType>(
  name: string,
  schema: Schema | undefined,
  { workers, file }: Pick<Config, "workers" | "file">,
  env: Record<string, string | undefined> = process.env,
): z.output<Schema> | undefined {
  if (schema === undefined) return undefined;
  const given = workers[name] ?? {};
  const fromEnv = new Map<string, { variable: string; text: string }>();
  for (const key of keysOf(schema)) {
    const variable = variableOf(name, key);
    const text = env[variable];
    // A name that is a setting of our own means that setting.
    if (text !== undefined && !(variable in settings)) fromEnv.set(key, { variable, text });
  }
  const input = fromEnv.size === 0 ? given : { ...(given as object), ...mapped(fromEnv, ({ text }) => text) };
  const first = schema.safeParse(input);
  if (first.success) return first.data;

  const wrong = new Set(first.error.issues.map(({ path }) => String(path[0])));
  const second = schema.safeParse({
    ...(input as object),
    ...mapped(fromEnv, ({ text }, key) => (wrong.has(key) ? fromJson(text) : text)),
  });
  if (second.success) return second.data;
  throw new ConfigError(
    second.error.issues.map(({ path, message }) => {
      const variable = fromEnv.get(String(path[0]));
      if (variable) {
        return `${variable.variable}=${shown({ [String(path[0])]: variable.text })}: ${message} (worker ${name})`;
      }
      const where = file ?? "the configuration file";
      const at = path.reduce<unknown>(
        (inside, key) => (inside as Record<PropertyKey, unknown>)?.[key],
        given,
      );
      const value = shown({ [String(path.at(-1) ?? name)]: at });
      const variables = path.length > 0 ? `, or set ${variableOf(name, String(path[0]))}` : "";
      return `${["workers", name, ...path].map(String).join(".")} = ${value}: ${message}; set it in ${where}${variables}`;
    }),
  );
}

/** `maxPages` of `save-invoices` is `SAVE_INVOICES_MAX_PAGES`. */
function variableOf(name: string, key: string): string {
  return `${name}_${key.replace(/([a-z0-9])([A-Z])/g, "$1_$2")}`.replace(/[^A-Za-z0-9]/g, "_").toUpperCase();
}

function keysOf(schema: z.ZodType): string[] {
  return schema instanceof z.ZodObject || "shape" in schema
    ? Object.keys((schema as unknown as z.ZodObject).shape)
    : [];
}

function mapped<T, R>(map: ReadonlyMap<string, T>, to: (value: T, key: string) => R): Record<string, R> {
  return Object.fromEntries([...map].map(([key, value]) => [key, to(value, key)]));
}

function fromJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** The one value of an object as JSON, hidden if its key says that it is a secret. */
function shown(entry: Record<string, unknown>): string {
  const [value] = Object.values(maskSecrets(entry) as Record<string, unknown>);
  return JSON.stringify(value) ?? "(nothing)";
}
