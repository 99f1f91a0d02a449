import type { Manifest, ParsedMessage } from "@millrace/mail";
import type { Emission } from "./context.ts";
import { bodyOf, type Pipeline } from "./open-pipeline.ts";
import { type Unit, unitName } from "./unit.ts";
import { isWanted, needsParsed } from "./where.ts";

/**
 * The units that events open: one for each subscriber of each that wants the message. Where a filter cannot be told
 * yet, because the message is not parsed, the worker itself decides when its turn comes.
 */
export async function unitsFor(
  pipeline: Pick<Pipeline, "subscriptions" | "spool" | "mailstore">,
  manifest: Manifest,
  emissions: readonly Emission[],
  at: number,
): Promise<Map<string, Unit>> {
  const units = new Map<string, Unit>();
  let parsed: ParsedMessage | undefined;
  let looked = false;
  for (const { event, key, data } of emissions) {
    for (const { worker, where } of pipeline.subscriptions.to(event)) {
      if (where && needsParsed(where) && !looked) {
        looked = true;
        parsed = await bodyOf(pipeline, manifest.id).parsedIfAny();
      }
      const wanted = where === undefined || isWanted(where, manifest, parsed);
      if (wanted === false) continue;
      const unit: Unit = { v: 1, event, at, data, attempts: 0 };
      units.set(unitName(worker, event, key), wanted === undefined ? { ...unit, unfiltered: true } : unit);
    }
  }
  return units;
}

/** The units of a message that has just been accepted. Only what its envelope tells is known of it. */
export function firstUnits(pipeline: Pick<Pipeline, "subscriptions">, manifest: Manifest): Map<string, Unit> {
  const event = "message.received";
  const unit: Unit = { v: 1, event, at: manifest.receivedAt, data: {}, attempts: 0 };
  return new Map(
    pipeline.subscriptions
      .to(event)
      .filter(({ where }) => where === undefined || isWanted(where, manifest, undefined) !== false)
      .map(({ worker }) => [unitName(worker, event), unit]),
  );
}
