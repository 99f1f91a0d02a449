import { z } from "zod";

/** One value read from the environment: its meaning, its default, and how a text becomes the value. */
export interface Setting<T> {
  about: string;
  /** What is allowed, as it stands in the documentation and in error messages. */
  allowed: string;
  /** The default as one would write it in the environment; undefined when there is none. */
  fallback: string | undefined;
  secret: boolean;
  schema: z.ZodType<T, string | undefined>;
}

interface Options {
  about: string;
  secret?: boolean;
}

export function text(options: Options & { default: string }): Setting<string>;
export function text(options: Options): Setting<string | undefined>;
export function text(options: Options & { default?: string }): Setting<string | undefined> {
  return make(options, "text", options.default, z.string());
}

interface Range {
  min: number;
  max: number;
}

export function integer(options: Options & Range & { default: number }): Setting<number>;
export function integer(options: Options & Range): Setting<number | undefined>;
export function integer(options: Options & Range & { default?: number }): Setting<number | undefined> {
  const { min, max } = options;
  const fallback = options.default === undefined ? undefined : String(options.default);
  const schema = z
    .string()
    .regex(/^-?\d+$/)
    .transform(Number)
    .refine((value) => value >= min && value <= max);
  return make(options, `whole number, ${min} to ${max}`, fallback, schema);
}

export function flag(options: Options & { default: boolean }): Setting<boolean> {
  const schema = z
    .string()
    .toLowerCase()
    .pipe(z.enum(["true", "false", "1", "0", "yes", "no"]))
    .transform((word) => word === "true" || word === "1" || word === "yes");
  return make(options, "`true` or `false`", String(options.default), schema) as Setting<boolean>;
}

export function choice<const T extends string>(
  options: Options & { default: T; of: readonly T[] },
): Setting<T> {
  const allowed = options.of.map((word) => `\`${word}\``).join(", ");
  return make(options, `one of ${allowed}`, options.default, z.enum(options.of)) as unknown as Setting<T>;
}

export function optionalChoice<const T extends string>(
  options: Options & { of: readonly T[] },
): Setting<T | undefined> {
  const allowed = options.of.map((word) => `\`${word}\``).join(", ");
  return make<T>(
    options,
    `one of ${allowed}`,
    undefined,
    z.enum(options.of) as unknown as z.ZodType<T, string>,
  );
}

function make<T>(
  options: Options,
  allowed: string,
  fallback: string | undefined,
  schema: z.ZodType<T, string>,
): Setting<T | undefined> {
  return {
    about: options.about,
    allowed,
    fallback,
    secret: options.secret ?? false,
    schema: z
      .string()
      .optional()
      .transform((value) => (value === undefined || value === "" ? fallback : value))
      .pipe(schema.optional()) as z.ZodType<T | undefined, string | undefined>,
  };
}
