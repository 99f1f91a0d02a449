import { readFile } from "node:fs/promises";
import { loadConfig } from "@millrace/service";
import type { Command } from "commander";
import { createTransport, type SendMailOptions } from "nodemailer";
import { positiveNumber } from "../numbers.ts";
import { CommandError, interactive, print, printable } from "../terminal.ts";
import { fixture, listFixtures, recipientFor } from "./fixtures.ts";
import { listenerInTheClear } from "./listener.ts";

interface SendOptions {
  to?: string[];
  from?: string;
  subject?: string;
  text?: string;
  file?: string;
  fixture?: string;
  listFixtures?: boolean;
  json?: boolean;
  count: number;
  server?: string;
}

/** Where a command sends to: an edge, and whom it writes to when nobody is named. */
interface Destination {
  host: string;
  port: number;
  recipient: string;
}

export function addSendCommand(program: Command): void {
  program
    .command("send")
    .description("send a test message to the edge: a line of text, one of the sample mails, or a file")
    .option("--to <address...>", "envelope recipients (default: one that the first route takes)")
    .option("--from <address>", 'envelope sender, "" for the null one (default: the fixture\'s own)')
    .option("--fixture <name>", "send a sample mail; `list` prints them")
    .option("--list-fixtures", "print the sample mails")
    .option("--subject <text>", "subject of the test message (default: Hello from millrace)")
    .option("--text <text>", "its text")
    .option("--file <eml>", "send this file's octets instead (line ends become CRLF)")
    .option("--count <n>", "how many times", positiveNumber, 1)
    .option("--server <host:port>", "where to (default: the first listener in the clear)")
    .option("--json", "the list of fixtures as JSON")
    .action(send);
}

async function send(options: SendOptions): Promise<void> {
  if (options.listFixtures || options.fixture === "list") return listFixtures(options.json ?? false);
  const { host, port, recipient } = await destinationOf(options.server);
  const next = await mailsOf(options, options.to ?? [recipient]);
  const connections = Math.min(10, options.count);
  const transport = createTransport({
    host,
    port,
    pool: true,
    maxConnections: connections,
    maxMessages: Number.POSITIVE_INFINITY,
    ignoreTLS: true,
  });
  let sent = 0;
  try {
    const one = async () => {
      while (sent < options.count) {
        sent++;
        const { response } = await transport.sendMail(next());
        if (options.count === 1) await print(`${printable(response)}\n`);
        else if (interactive && sent % 100 === 0) process.stderr.write(`\r${sent} of ${options.count}`);
      }
    };
    await Promise.all(Array.from({ length: connections }, one));
  } catch (error) {
    const { response, code, message } = error as Error & { response?: string; code?: string };
    if (response) throw new CommandError(`${host}:${port} refused it: ${printable(response)}`);
    const cure =
      code === "ECONNECTION" || code === "ESOCKET"
        ? "; start it with `millrace up`, or name it with --server"
        : "";
    throw new CommandError(`${host}:${port}: ${printable(message)}${cure}`);
  } finally {
    transport.close();
  }
  if (options.count > 1) await print(`${interactive ? "\r" : ""}${options.count} messages accepted\n`);
}

/**
 * What makes the mails that are sent, one after the other.
 * @throws CommandError when options exclude each other, or name what is not there
 */
async function mailsOf(options: SendOptions, to: string[]): Promise<() => SendMailOptions> {
  const { from = "sender@example.com", subject, text } = options;
  const raws = [options.fixture && "--fixture", options.file && "--file"].filter(Boolean);
  const words = [subject && "--subject", text && "--text"].filter(Boolean);
  if (raws.length > 1 || (raws.length > 0 && words.length > 0)) {
    throw new CommandError(`${[...raws, ...words].join(" and ")}: give one of them`, 2);
  }
  if (options.fixture !== undefined) {
    const name = options.fixture;
    fixture(name, to, options.from);
    return () => {
      const made = fixture(name, to, options.from);
      return { envelope: { from: made.from, to: made.recipients }, raw: made.raw };
    };
  }
  const envelope = { from, to };
  if (options.file !== undefined) {
    const raw = await readFile(options.file).catch((error: NodeJS.ErrnoException) => {
      throw new CommandError(
        `--file ${options.file}: ${error.code === "ENOENT" ? "there is no such file" : error.message}`,
      );
    });
    return () => ({ envelope, raw });
  }
  const plain = { subject: subject ?? "Hello from millrace", text: text ?? "This is a test message." };
  return () => ({ envelope, from, to, ...plain });
}

async function destinationOf(server: string | undefined): Promise<Destination> {
  if (server === undefined) {
    const config = await loadConfig();
    return { ...listenerInTheClear(config), recipient: recipientFor(config.routes) };
  }
  const match = /^(.+):(\d{1,5})$/.exec(server);
  if (!match) throw new CommandError(`--server ${server}: give host:port, such as 127.0.0.1:2525`, 2);
  const host = (match[1] as string).replace(/^\[|\]$/g, "");
  return { host, port: Number(match[2]), recipient: "test@example.com" };
}
