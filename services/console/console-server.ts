import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { MailStore } from "@millrace/mailstore";
import { type Logger, StartError } from "@millrace/service";
import { sendAttachment, sendRaw } from "./downloads.ts";
import { answerJson, type Exchange, HttpError } from "./http-answer.ts";

export interface ConsoleOptions {
  host: string;
  /** 0: any that is free. */
  port: number;
  store: MailStore;
  /** Key of the links in webhooks. */
  linkSecret: Uint8Array;
  log: Logger;
}

export interface RunningConsole {
  port: number;
  /** Takes no more requests; those under way have five seconds. */
  close(): Promise<void>;
}

interface Route {
  /** Matched against the whole path, as it came. */
  pattern: RegExp;
  handle(exchange: Exchange, options: ConsoleOptions): Promise<void> | void;
}

const routes: Route[] = [
  { pattern: /^\/healthz$/, handle: ({ response }) => answerJson(response, 200, { status: "ok" }) },
  { pattern: /^\/messages\/([^/]+)\/raw$/, handle: sendRaw },
  { pattern: /^\/messages\/([^/]+)\/attachments\/(\d{1,6})$/, handle: sendAttachment },
];

/** On every answer: nothing here is a page, and mail is nothing to keep, to guess at or to run. */
const guardHeaders = {
  "cache-control": "no-store",
  "content-security-policy": "sandbox; default-src 'none'",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
};

/** Milliseconds without a sign of life after which a connection is closed. */
const idleTime = 60_000;
/** Milliseconds requests under way have when the console stops. */
const closeTime = 5_000;

/** Starts the console's HTTP server. @throws StartError when it cannot listen */
export async function startConsole(options: ConsoleOptions): Promise<RunningConsole> {
  const server = createServer((request, response) => void serve(request, response, options));
  server.timeout = idleTime;
  server.listen(options.port, options.host);
  try {
    await once(server, "listening");
  } catch (error) {
    throw new StartError(
      `the console cannot listen on CONSOLE_HOST=${options.host}, CONSOLE_PORT=${options.port} (${(error as Error).message}): choose others`,
    );
  }
  return {
    port: (server.address() as AddressInfo).port,
    async close() {
      const timer = setTimeout(() => server.closeAllConnections(), closeTime);
      server.close();
      server.closeIdleConnections();
      await once(server, "close");
      clearTimeout(timer);
    },
  };
}

async function serve(
  request: IncomingMessage,
  response: ServerResponse,
  options: ConsoleOptions,
): Promise<void> {
  for (const [name, value] of Object.entries(guardHeaders)) response.setHeader(name, value);
  try {
    const { method = "", url = "" } = request;
    const [path = "", query = ""] = url.split(/\?(.*)/s);
    const found = routes
      .map((route) => ({ route, match: route.pattern.exec(path) }))
      .find(({ match }) => match !== null);
    if (!found?.match) throw new HttpError(404, "not found");
    if (method !== "GET" && method !== "HEAD")
      throw new HttpError(405, "method not allowed", { allow: "GET, HEAD" });
    const parts = found.match.slice(1);
    await found.route.handle({ request, response, path, query: new URLSearchParams(query), parts }, options);
  } catch (error) {
    if (!(error instanceof HttpError)) options.log.error({ err: error, path: request.url }, "request failed");
    // Half of a file must not look like the whole: the connection breaks where the file did.
    if (response.headersSent) response.destroy();
    else if (error instanceof HttpError)
      answerJson(response, error.status, { error: error.message }, error.headers);
    else answerJson(response, 500, { error: "internal error" });
  }
}
