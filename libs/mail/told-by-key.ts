import { z } from "zod";

/**
 * An entry of the configuration that is of one of several kinds, told by a key that each of them alone has. Not a
 * union: one would only say that nothing fits, not what is wrong.
 * @param schemas one for each kind, under its key
 * @param kinds what is said where none of the keys is there
 */
export function toldByKey<const Schemas extends Record<string, z.ZodType>>(schemas: Schemas, kinds: string) {
  return z.unknown().transform((value, context): z.output<Schemas[keyof Schemas]> => {
    const given = typeof value === "object" && value !== null ? value : {};
    const schema = Object.entries(schemas).find(([key]) => key in given)?.[1];
    if (!schema) {
      context.issues.push({ code: "custom", message: kinds, input: value });
      return z.NEVER;
    }
    const result = schema.safeParse(value);
    if (result.success) return result.data as z.output<Schemas[keyof Schemas]>;
    for (const { message, path } of result.error.issues)
      context.issues.push({ code: "custom", message, path, input: value });
    return z.NEVER;
  });
}
