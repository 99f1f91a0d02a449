import { createWriteStream } from "node:fs";
import { pipeline as pipe } from "node:stream/promises";
import { type Manifest, type MessageId, type MessageState, messageStateNames } from "@millrace/mail";
import type { MessageSummary } from "@millrace/mailstore";
import { attachmentOf } from "@millrace/mime";
import { bodyOf } from "@millrace/pipeline/runtime";
import { type Command, InvalidArgumentError } from "commander";
import { wholeNumber } from "./numbers.ts";
import { type Live, parseId, type Reading, unknownMessage, withReading } from "./reading.ts";
import {
  CommandError,
  colour,
  octets,
  print,
  printable,
  printableLines,
  printJson,
  table,
} from "./terminal.ts";

const page = 500;

interface ListOptions {
  limit: number;
  all?: boolean;
  state?: MessageState;
  json?: boolean;
}

export function addMessagesCommand(program: Command): void {
  const messages = program
    .command("messages")
    .description("look at messages: those in flight and those in the mail store");
  const listing = (command: Command) =>
    command
      .option("--limit <n>", "how many, newest first", wholeNumber, 50)
      .option("--all", "every one")
      .option("--state <state>", `only those in a state: ${messageStateNames.join(", ")}`, oneState)
      .option("--json", "one JSON array");

  listing(messages.command("list").description("newest first")).action((options: ListOptions) =>
    withReading((reading) => showList(messagesOf(reading, options), options)),
  );
  listing(
    messages
      .command("search")
      .description(
        'find words in subject, addresses and text; "two words" in quotes are a phrase, word* a beginning',
      )
      .argument("<words...>"),
  ).action((words: string[], options: ListOptions) =>
    withReading((reading) => showList(storedMessages(reading, options, words.join(" ")), options)),
  );
  messages
    .command("show")
    .description("one message: envelope, header, deliveries, text")
    .argument("<id>")
    .option("--json", "everything, as JSON")
    .action((id: string, options: { json?: boolean }) =>
      withReading((reading) => show(reading, parseId(id), options)),
    );
  messages
    .command("raw")
    .description("the stored octets: our Received field, then the message as it was sent")
    .argument("<id>")
    .option("--original", "only the octets the client sent")
    .action((id: string, options: { original?: boolean }) =>
      withReading((reading) => raw(reading, parseId(id), options.original ?? false)),
    );
  messages
    .command("attachment")
    .description("the decoded octets of one attachment, to standard output or a file")
    .argument("<id>")
    .argument("<index>", "its number in `messages show`, from 0", wholeNumber)
    .option("--out <file>", "write to this file instead")
    .action((id: string, index: number, options: { out?: string }) =>
      withReading((reading) => attachment(reading, parseId(id), index, options.out)),
    );
}

function oneState(text: string): MessageState {
  if (!messageStateNames.includes(text as MessageState)) {
    throw new InvalidArgumentError(`the states are ${messageStateNames.join(", ")}.`);
  }
  return text as MessageState;
}

/** Newest first: those still in the spool among those in the store. */
async function* messagesOf(reading: Reading, options: ListOptions): AsyncGenerator<MessageSummary> {
  const stored = storedMessages(reading, options);
  if (!reading.live || (options.state && options.state !== "received")) return yield* stored;
  let next = await stored.next();
  for await (const inFlight of spooledMessages(reading, reading.live)) {
    while (!next.done && next.value.id > inFlight.id) {
      yield next.value;
      next = await stored.next();
    }
    if (!next.done && next.value.id === inFlight.id) continue;
    yield inFlight;
  }
  while (!next.done) {
    yield next.value;
    next = await stored.next();
  }
}

async function* storedMessages(
  reading: Reading,
  options: ListOptions,
  search?: string,
): AsyncGenerator<MessageSummary> {
  for (let before: MessageId | undefined; ; ) {
    const found = reading.mailstore.list({ limit: page, before, state: options.state, search });
    yield* found;
    if (found.length < page) return;
    before = found.at(-1)?.id;
  }
}

async function* spooledMessages(reading: Reading, live: Live): AsyncGenerator<MessageSummary> {
  for (let offset = 0; ; offset += page) {
    const ids = await live.spool.list(page, offset);
    for (const id of ids) {
      const manifest = await live.spool.manifest(id);
      if (manifest && !reading.mailstore.has(id)) yield await inFlight(manifest, live);
    }
    if (ids.length < page) return;
  }
}

async function inFlight(manifest: Manifest, live: Live): Promise<MessageSummary> {
  const { id, receivedAt, envelope, size, sha256 } = manifest;
  const parsed = await live.spool.parsed(id);
  return {
    id,
    receivedAt: new Date(receivedAt).toISOString(),
    from: envelope.from,
    to: envelope.recipients,
    subject: parsed?.subject ?? "",
    size,
    sha256,
    state: "received",
    defects: parsed?.defects.map(({ code }) => code) ?? [],
  };
}

async function showList(messages: AsyncGenerator<MessageSummary>, options: ListOptions): Promise<void> {
  const limit = options.all ? Number.POSITIVE_INFINITY : options.limit;
  const rows: MessageSummary[] = [];
  let count = 0;
  if (options.json) await print("[");
  if (limit > 0) {
    for await (const message of messages) {
      // JSON of a long list is written as it is read; a table needs its widths first.
      if (options.json) await print(`${count === 0 ? "\n" : ",\n"}  ${JSON.stringify(message)}`);
      else rows.push(message);
      if (++count >= limit) break;
    }
  }
  if (options.json) return print(count === 0 ? "]\n" : "\n]\n");
  if (count === 0) return print("no messages\n");
  await print(
    table(
      ["id", "received", "state", "size", "from", "to", "subject"],
      rows.map(({ id, receivedAt, state, size, from, to, subject }) => [
        id,
        receivedAt.slice(0, 19).replace("T", " "),
        state,
        octets(size),
        from || "<>",
        to.length > 1 ? `${to[0]} +${to.length - 1}` : (to[0] ?? ""),
        subject,
      ]),
    ),
  );
  if (count === limit) await print(colour.dim(`the newest ${limit}; --limit N or --all shows more\n`));
}

async function show(reading: Reading, id: MessageId, options: { json?: boolean }): Promise<void> {
  const { mailstore, live } = reading;
  const manifest = mailstore.manifest(id) ?? (await live?.spool.manifest(id));
  if (!manifest) throw unknownMessage(id);
  const summary = mailstore.summary(id) ?? (live && (await inFlight(manifest, live)));
  const parsed = mailstore.parsed(id) ?? (await live?.spool.parsed(id));
  const deliveries = mailstore.deliveries(id);
  if (options.json) return printJson({ ...summary, manifest, parsed: parsed ?? null, deliveries });

  const { envelope } = manifest;
  const field = (name: string, value: string) => `${colour.dim(name.padEnd(12))}${printable(value)}\n`;
  const boxes = (list: readonly { name: string; address: string }[]) =>
    list.map(({ name, address }) => (name ? `${name} <${address}>` : address)).join(", ");
  let out = field("id", id) + field("state", summary?.state ?? "received");
  out +=
    field("received", summary?.receivedAt ?? "") +
    field("size", `${octets(manifest.size)} (${manifest.size})`);
  out += field("sha256", manifest.sha256);
  out += field(
    "envelope",
    `<${envelope.from}> to ${envelope.recipients.map((each) => `<${each}>`).join(", ")}`,
  );
  out += field("client", `${envelope.client.ip} (${envelope.helo}) with ${envelope.protocol}`);
  if (parsed) {
    out +=
      field("subject", parsed.subject) + field("from", boxes(parsed.from)) + field("to", boxes(parsed.to));
    if (parsed.cc.length > 0) out += field("cc", boxes(parsed.cc));
    out += field("date", parsed.date ?? "(none)");
    for (const { code, detail } of parsed.defects)
      out += field("defect", detail ? `${code}: ${detail}` : code);
    for (const each of parsed.attachments) {
      out += field(
        "attachment",
        `${each.index}  ${each.filename ?? "(no name)"}  ${each.contentType}  ${octets(each.size)}`,
      );
    }
  }
  for (const { state, label, attempts, lastReply } of deliveries) {
    out += field("delivery", `${state}  ${label}  attempts ${attempts}  ${lastReply ?? ""}`);
  }
  if (parsed?.text) out += `\n${printableLines(parsed.text.slice(0, 4_000))}\n`;
  await print(out);
}

async function bodySource(reading: Reading, id: MessageId) {
  const manifest = reading.mailstore.manifest(id) ?? (await reading.live?.spool.manifest(id));
  if (!manifest) throw unknownMessage(id);
  if (reading.live)
    return { manifest, body: bodyOf({ spool: reading.live.spool, mailstore: reading.mailstore }, id) };
  return { manifest, body: { open: () => reading.mailstore.raw(id) } };
}

async function raw(reading: Reading, id: MessageId, original: boolean): Promise<void> {
  const { manifest, body } = await bodySource(reading, id);
  let skip = original ? manifest.receivedFieldSize : 0;
  for await (const chunk of body.open() as AsyncIterable<Buffer>) {
    if (skip >= chunk.length) skip -= chunk.length;
    else {
      await print(chunk.subarray(skip));
      skip = 0;
    }
  }
}

async function attachment(
  reading: Reading,
  id: MessageId,
  index: number,
  out: string | undefined,
): Promise<void> {
  const { body } = await bodySource(reading, id);
  const stream = await attachmentOf(body.open(), index).catch((error: Error) => {
    throw new CommandError(`message ${id}: ${error.message}`);
  });
  if (out) return pipe(stream, createWriteStream(out));
  for await (const chunk of stream as AsyncIterable<Buffer>) await print(chunk);
}
