import { createInterface } from "node:readline/promises";
import { domainOf, localPartOf, type Person, personOf } from "@millrace/mail";
import type { Command } from "commander";
import { ProgressLine } from "../progress-line.ts";
import { CommandError, colour, print, printJson, table } from "../terminal.ts";
import { whoami } from "../working.ts";
import { type Writing, withWriting } from "../writing.ts";
import { isClean, Receipt, renderReceipt, renderScan } from "./receipt.ts";
import { erase, type Found, find } from "./sweep.ts";

interface Options {
  address?: string;
  history?: boolean;
  dryRun?: boolean;
  scanBodies?: boolean;
  yes?: boolean;
  json?: boolean;
}

export function addEraseCommand(program: Command): void {
  program
    .command("erase")
    .description(
      "remove a person's mail for good: raw, parsed, index, queues, journal; then show that none is left",
    )
    .option("--address <address>", "whose: an address, exact but for upper and lower case")
    .option("--dry-run", "say what would go, and remove nothing")
    .option("--yes", "do not ask")
    .option("--scan-bodies", "also list the messages of others whose text mentions the address; they stay")
    .option("--history", "list the erasures made so far: when, by whom, how many messages")
    .option("--json", "as JSON")
    .action((options: Options) => run(options));
}

async function run(options: Options): Promise<void> {
  if (options.history) return withWriting((writing) => showHistory(writing, options.json ?? false));
  const { address = "" } = options;
  if (/\s/.test(address) || localPartOf(address) === "" || domainOf(address) === "") {
    throw new CommandError(
      `--address ${JSON.stringify(address)} is no address: give the whole of it, local@domain`,
      2,
    );
  }
  await withWriting((writing) => eraseOf(writing, personOf(address), options));
}

async function eraseOf(writing: Writing, person: Person, options: Options): Promise<void> {
  const line = new ProgressLine();
  let looked = 0;
  const progress = (rows: number) => {
    looked += rows;
    line.show(`${looked} rows looked at`);
  };
  await writing.mailstore.finishRemovals();
  const found = await find(writing, person, 0, progress);
  line.clear();
  if (options.dryRun) return preview(found, options);
  if (!options.yes) await confirm(person, found);

  const receipt = new Receipt();
  const scan = await erase(writing, person, receipt, progress);
  line.clear();
  const by = person.redacted(whoami());
  writing.mailstore.personalData().record({ at: new Date().toISOString(), by, messages: receipt.ids.size });
  if (!isClean(scan)) process.exitCode = 1;
  if (options.json) {
    const { mentions, redisFiles, ...rest } = scan;
    const shown = {
      ...rest,
      redisFiles: redisFiles ?? null,
      mentions: options.scanBodies ? mentions : mentions.length,
    };
    return printJson({ dryRun: false, clean: isClean(scan), receipt: receipt.json(), scan: shown });
  }
  await print(renderReceipt(receipt));
  await print(renderScan(scan, options.scanBodies ?? false));
}

async function preview(found: Found, options: Options): Promise<void> {
  const messages = new Set([...found.inFlight, ...found.stored]);
  const { withOtherRecipients, inFlight, mentions } = found;
  if (options.json) {
    return printJson({
      dryRun: true,
      messages: [...messages],
      withOtherRecipients: [...withOtherRecipients],
      inFlight,
      mentions: options.scanBodies ? mentions : mentions.length,
    });
  }
  await print(`${summaryOf(found)}\n`);
  if (withOtherRecipients.size > 0) {
    await print("\nwith other recipients, who lose them, too:\n");
    for (const id of withOtherRecipients) await print(`  ${id}\n`);
  }
  if (options.scanBodies) {
    await print(
      `\n${mentions.length} messages of others mention the address in their text, and would stay\n`,
    );
    for (const id of mentions) await print(`  ${id}\n`);
  }
  await print(colour.dim("\nnothing was removed; leave out --dry-run to do it\n"));
}

function summaryOf(found: Found): string {
  const messages = new Set([...found.inFlight, ...found.stored]).size;
  const [flying, others] = [found.inFlight.length, found.withOtherRecipients.size];
  return `${messages} messages from or for the address, ${flying} of them in flight, ${others} of them with other recipients, too`;
}

async function confirm(person: Person, found: Found): Promise<void> {
  if (!process.stdin.isTTY) {
    throw new CommandError("this removes mail for good: on no terminal, say so with --yes (or --dry-run)", 2);
  }
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  const answer = await terminal.question(
    `${summaryOf(found)}.\nErase all mail of ${person.address} for good? Type "yes": `,
  );
  terminal.close();
  if (answer.trim() !== "yes") throw new CommandError("nothing was removed");
}

async function showHistory({ mailstore }: Writing, json: boolean): Promise<void> {
  const erasures = mailstore.personalData().erasures();
  if (json) return printJson(erasures);
  if (erasures.length === 0) return print("nothing was erased so far\n");
  await print(
    table(
      ["when", "by", "messages"],
      erasures.map(({ at, by, messages }) => [at, by, String(messages)]),
    ),
  );
}
