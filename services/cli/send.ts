import { readFile } from "node:fs/promises";
import { loadConfig } from "@millrace/service";
import type { Command } from "commander";
import { createTransport } from "nodemailer";
import { positiveNumber } from "./numbers.ts";
import { CommandError, interactive, print, printable } from "./terminal.ts";

interface SendOptions {
  to: string[];
  from: string;
  subject: string;
  text: string;
  file?: string;
  count: number;
  server?: string;
}

export function addSendCommand(program: Command): void {
  program
    .command("send")
    .description("send a test message to the edge, or one from a file")
    .option("--to <address...>", "envelope recipients", ["test@example.com"])
    .option("--from <address>", "envelope sender", "sender@example.com")
    .option("--subject <text>", "subject of the test message", "Hello from millrace")
    .option("--text <text>", "its text", "This is a test message.")
    .option("--file <eml>", "send this file's octets instead (line ends become CRLF)")
    .option("--count <n>", "how many times", positiveNumber, 1)
    .option("--server <host:port>", "where to (default: SMTP_HOST and SMTP_PORT)")
    .action(send);
}

async function send(options: SendOptions): Promise<void> {
  const { host, port } = await serverOf(options.server);
  const raw = options.file
    ? await readFile(options.file).catch((error: NodeJS.ErrnoException) => {
        throw new CommandError(
          `--file ${options.file}: ${error.code === "ENOENT" ? "there is no such file" : error.message}`,
        );
      })
    : undefined;
  const connections = Math.min(10, options.count);
  const transport = createTransport({
    host,
    port,
    pool: true,
    maxConnections: connections,
    maxMessages: Number.POSITIVE_INFINITY,
    ignoreTLS: true,
  });
  const envelope = { from: options.from, to: options.to };
  const { from, to, subject, text } = options;
  let sent = 0;
  try {
    const one = async () => {
      while (sent < options.count) {
        sent++;
        const { response } = await transport.sendMail(
          raw ? { envelope, raw } : { envelope, from, to, subject, text },
        );
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

async function serverOf(server: string | undefined): Promise<{ host: string; port: number }> {
  if (server === undefined) {
    const { settings } = await loadConfig();
    return {
      host: settings.SMTP_HOST === "0.0.0.0" ? "127.0.0.1" : settings.SMTP_HOST,
      port: settings.SMTP_PORT,
    };
  }
  const match = /^(.+):(\d{1,5})$/.exec(server);
  if (!match) throw new CommandError(`--server ${server}: give host:port, such as 127.0.0.1:2525`, 2);
  return { host: (match[1] as string).replace(/^\[|\]$/g, ""), port: Number(match[2]) };
}
