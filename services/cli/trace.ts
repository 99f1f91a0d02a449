import type { MessageId } from "@millrace/mail";
import type { Command } from "commander";
import { paint, summary } from "./journal-line.ts";
import { parseId, type Reading, unknownMessage, withReading } from "./reading.ts";
import { colour, duration, print, printable, printJson } from "./terminal.ts";

export function addTraceCommand(program: Command): void {
  program
    .command("trace")
    .description("what happened to a message, step by step, and what is still to be done for it")
    .argument("<id>")
    .option("--json", "as JSON")
    .action((id: string, options: { json?: boolean }) =>
      withReading((reading) => trace(reading, parseId(id), options.json ?? false)),
    );
}

async function trace(reading: Reading, id: MessageId, json: boolean): Promise<void> {
  const { mailstore, live } = reading;
  const archived = mailstore.journal(id);
  const known = new Set(archived.map(({ seq }) => seq));
  const recent = ((await live?.journal.of(id)) ?? []).filter(({ seq }) => !known.has(seq));
  const steps = [...archived, ...recent];
  const work = [...((await live?.ledger.unitsOf(id)) ?? [])].map(([unit, { attempts, dead }]) => ({
    unit,
    attempts,
    state: dead ? "dead" : "open",
  }));
  if (steps.length === 0 && work.length === 0) throw unknownMessage(id);
  if (json) return printJson({ id, steps, work });

  const start = steps[0]?.at ?? 0;
  for (const step of steps) {
    const time = new Date(step.at).toISOString().slice(11, 23);
    const took = step.ms === undefined ? "" : duration(step.ms);
    await print(
      `${colour.dim(time)} ${`+${step.at - start} ms`.padStart(10)}  ${paint(step)(step.event.padEnd(20))} ` +
        `${step.worker.padEnd(10)} ${took.padStart(7)}  ${printable(summary(step))}\n`,
    );
  }
  for (const { unit, attempts, state } of work) {
    await print(
      `${colour.yellow(state.padEnd(5))} ${unit}${attempts ? `, ${attempts} attempts failed` : ""}\n`,
    );
  }
}
