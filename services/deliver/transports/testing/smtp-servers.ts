import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { after } from "node:test";
import { SMTPServer, type SMTPServerOptions } from "smtp-server";
import type { Transport } from "../../transport.ts";
import { type SmtpConfig, smtpTransport } from "../smtp.ts";
import { type Answer, startScriptedServer } from "./scripted-server.ts";

const ends: (() => unknown)[] = [];
after(async () => {
  for (const end of ends.reverse()) await end();
});

/** What to call when the tests of the file are over; the last one first. */
export function atEnd(end: () => unknown): void {
  ends.push(end);
}

/** A real server, and what it took in. */
export async function serverWith(options: SMTPServerOptions = {}) {
  const mails: {
    raw: string;
    from: unknown;
    to: string[];
    secure: boolean;
    user: unknown;
    helo: string;
    args: Record<string, unknown>;
  }[] = [];
  const server = new SMTPServer({
    disabledCommands: ["AUTH", "STARTTLS"],
    logger: false,
    disableReverseLookup: true,
    onData(stream, { envelope, secure, user, hostNameAppearsAs }, done) {
      text(stream).then((raw) => {
        const from = envelope.mailFrom;
        mails.push({
          raw,
          from: from ? from.address : "",
          args: from ? { ...from.args } : {},
          to: envelope.rcptTo.map(({ address }) => address),
          secure,
          user,
          helo: String(hostNameAppearsAs),
        });
        done(null, `taken as ${mails.length}`);
      }, done);
    },
    ...options,
  });
  server.on("error", () => {});
  server.listen(0, "127.0.0.1");
  await once(server.server, "listening");
  atEnd(() => new Promise<void>((resolve) => server.close(() => resolve())));
  return { mails, port: (server.server.address() as AddressInfo).port, server };
}

/** A server that answers as told. */
export async function scripted(answer?: (line: string) => Answer, extensions?: string[]) {
  const server = await startScriptedServer(answer, extensions);
  atEnd(() => server.close());
  return server;
}

/** A transport to a server on this machine. */
export function transportTo(port: number, config: Partial<SmtpConfig> = {}): Transport {
  const transport = smtpTransport(
    { smtp: `smtp://127.0.0.1:${port}`, ...config },
    { hostname: "mx.example.test" },
  );
  atEnd(() => transport.close());
  return transport;
}
