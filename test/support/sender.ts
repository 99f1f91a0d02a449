import { createTransport, type Transporter } from "nodemailer";

/** What the edge has acknowledged: the id of each message, by what the test calls it. */
export type Acknowledged = Map<string, string>;

export interface Mail {
  name: string;
  raw: Buffer;
  from?: string;
  to: string[];
}

/**
 * Sends mails over several connections at once, as a patient sender would: whatever is not acknowledged with 250
 * is sent again, until `deadline` milliseconds are over.
 */
export async function sendAll(
  port: number,
  mails: readonly Mail[],
  options: { connections?: number; deadline?: number } = {},
): Promise<Acknowledged> {
  const acknowledged: Acknowledged = new Map();
  const transport = connectTo(port, options.connections ?? 10);
  const deadline = Date.now() + (options.deadline ?? 120_000);
  const waiting = [...mails];
  const one = async () => {
    for (let mail = waiting.shift(); mail; mail = waiting.shift()) {
      try {
        acknowledged.set(mail.name, await send(transport, mail));
      } catch (error) {
        if (Date.now() > deadline) throw error;
        waiting.push(mail);
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
  };
  try {
    await Promise.all(Array.from({ length: options.connections ?? 10 }, one));
  } finally {
    transport.close();
  }
  return acknowledged;
}

function connectTo(port: number, connections: number): Transporter {
  return createTransport({
    host: "127.0.0.1",
    port,
    pool: true,
    maxConnections: connections,
    maxMessages: Number.POSITIVE_INFINITY,
    ignoreTLS: true,
    connectionTimeout: 5_000,
    greetingTimeout: 5_000,
    socketTimeout: 30_000,
  }) as Transporter;
}

async function send(transport: Transporter, mail: Mail): Promise<string> {
  const { response } = (await transport.sendMail({
    envelope: { from: mail.from ?? "sender@example.test", to: mail.to },
    raw: mail.raw,
  })) as { response: string };
  const id = /queued as ([0-9a-z]{26})$/.exec(response)?.[1];
  if (!id) throw new Error(`no id in ${response}`);
  return id;
}

/** A small message of its own. */
export function mail(name: string, to: string): Mail {
  const lines = [
    `From: sender@example.test`,
    `To: ${to}`,
    `Subject: ${name}`,
    `Message-ID: <${name}@example.test>`,
    "",
    `This is ${name}.`,
    "",
  ];
  return { name, to: [to], raw: Buffer.from(lines.join("\r\n")) };
}
