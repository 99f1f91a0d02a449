import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo, Server as NetServer } from "node:net";
import { SMTPServer } from "smtp-server";
import { type Arrival, readDelivered } from "./arrival.ts";

/**
 * Milliseconds a sink takes to answer, one after the other: long enough that most trouble finds deliveries whose answer
 * is still to come.
 */
const answerTimes = [0, 5, 30, 2, 80, 10, 0, 45];

function answerTime(arrivals: readonly Arrival[]): number {
  return answerTimes[arrivals.length % answerTimes.length] as number;
}

/** A far side that takes everything, and remembers it from before it says so. */
export interface Sink {
  url: string;
  arrivals: Arrival[];
  close(): Promise<void>;
}

export async function openSmtpSink(): Promise<Sink> {
  const arrivals: Arrival[] = [];
  const server = new SMTPServer({
    disabledCommands: ["AUTH", "STARTTLS"],
    disableReverseLookup: true,
    logger: false,
    onData(stream, session, done) {
      const chunks: Buffer[] = [];
      stream.on("data", (chunk: Buffer) => chunks.push(chunk));
      stream.once("end", () => {
        const recipients = session.envelope.rcptTo.map(({ address }) => address);
        arrivals.push({ ...readDelivered(Buffer.concat(chunks)), recipients });
        setTimeout(done, answerTime(arrivals));
      });
    },
  });
  // Whoever was killed leaves its connection behind.
  server.on("error", () => {});
  server.listen(0, "127.0.0.1");
  await once(server.server, "listening");
  return {
    url: `smtp://127.0.0.1:${portOf(server.server)}`,
    arrivals,
    close: () => new Promise((resolve) => server.close(resolve)),
  };
}

export async function openWebhookSink(): Promise<Sink> {
  const arrivals: Arrival[] = [];
  const server: Server = createServer((request, response) => void take(request, response, arrivals));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${portOf(server)}/mail`,
    arrivals,
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

async function take(request: IncomingMessage, response: ServerResponse, arrivals: Arrival[]): Promise<void> {
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of request) chunks.push(chunk as Buffer);
  } catch {
    // The sender's process was killed: nothing was delivered.
    return;
  }
  const { data } = JSON.parse(Buffer.concat(chunks).toString()) as {
    data: { message: string; sha256: string; envelope: { recipients: string[] } };
  };
  arrivals.push({
    id: data.message,
    sha256: data.sha256,
    recipients: data.envelope.recipients,
    deliveryId: String(request.headers["webhook-id"]),
  });
  setTimeout(() => response.writeHead(204).end(), answerTime(arrivals));
}

function portOf(server: NetServer): number {
  return (server.address() as AddressInfo).port;
}
