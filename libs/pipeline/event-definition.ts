import type { z } from "zod";
import { type EventName, events } from "./events.ts";

/** What an event carries: an object, as a schema. */
export type EventSchema = z.ZodType<Record<string, unknown>>;

/** An event of a worker's own, with what it carries: for the worker that emits it and for those that subscribe to it. */
export interface EventDefinition<Name extends string = string, Schema extends EventSchema = EventSchema> {
  name: Name;
  schema: Schema;
}

/**
 * Names an event and says what it carries, once for both sides.
 * @param name such as `invoice.found`; not one of the pipeline's own
 * @throws TypeError that names the event and what is wrong
 */
export function defineEvent<const Name extends string, Schema extends EventSchema>(
  name: Name,
  schema: Schema,
): EventDefinition<Name, Schema> {
  checkEventName(name);
  return { name, schema };
}

/** @throws TypeError when no worker may have an event of this name */
export function checkEventName(name: string): void {
  const wrong = (what: string) => new TypeError(`event ${JSON.stringify(name)}: ${what}`);
  if (!/^[a-z0-9][a-z0-9._-]{0,99}$/.test(name)) {
    throw wrong('a name is lower case letters, digits, ".", "_" and "-", at most 100 of them');
  }
  if ((name as EventName) in events) throw wrong("is built in: choose another name");
  if (/^(job|message|delivery|quarantine)\./.test(name)) {
    throw wrong(
      "`job.`, `message.`, `delivery.` and `quarantine.` are the pipeline's own: choose another beginning",
    );
  }
}
