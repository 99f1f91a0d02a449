import { NotInstalled, type System } from "./system.ts";
import type { Row } from "./table.ts";

export interface Contestant {
  /** Shown when it can't be started. */
  name: string;
  start(): Promise<System>;
  /** One round with so many messages: seconds it took. */
  round(system: System, messages: number): Promise<number>;
}

/**
 * Messages a second of several systems: all of them run throughout, and take turns, so that a disturbance of the
 * machine meets each of them. A shorter round of each comes first and does not count.
 */
export async function rates(
  what: string,
  contestants: readonly Contestant[],
  options: { messages: number; rounds: number; say: (line: string) => void; interrupted: AbortSignal },
): Promise<Row[]> {
  const { messages, rounds, say, interrupted } = options;
  const rows: Row[] = [];
  const running: { system: System; row: Row; contestant: Contestant }[] = [];
  try {
    for (const contestant of contestants) {
      interrupted.throwIfAborted();
      const row: Row = { what, system: contestant.name, unit: "msg/s", values: [] };
      rows.push(row);
      say(`${what}: starting ${contestant.name}`);
      try {
        const system = await contestant.start();
        row.system = system.name;
        running.push({ system, row, contestant });
        await contestant.round(system, Math.ceil(messages / 2));
        await system.clear?.();
      } catch (error) {
        give(row, error);
      }
    }
    for (let round = 1; round <= rounds; round++) {
      for (const { system, row, contestant } of running.filter((each) => !each.row.note)) {
        interrupted.throwIfAborted();
        try {
          row.values.push(messages / (await contestant.round(system, messages)));
          say(`${what}: ${row.system}, round ${round}: ${Math.round(row.values.at(-1) as number)} msg/s`);
          await system.clear?.();
        } catch (error) {
          give(row, error);
        }
      }
    }
  } finally {
    for (const { system } of running) await system.stop();
  }
  return rows;
}

/** Puts into a row why it has no figures. */
export function give(row: Row, error: unknown): void {
  const { message } = error as Error;
  row.values = [];
  row.note = error instanceof NotInstalled ? message : `failed: ${message.split("\n")[0]}`;
}
