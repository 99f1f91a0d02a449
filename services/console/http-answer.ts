import type { IncomingMessage, ServerResponse } from "node:http";

/** One request, taken apart. */
export interface Exchange {
  request: IncomingMessage;
  response: ServerResponse;
  /** As it came, still encoded: what a link's signature is about. */
  path: string;
  query: URLSearchParams;
  /** What the route's pattern caught. */
  parts: string[];
}

/** Ends a request with an error that a stranger may read. */
export class HttpError extends Error {
  override name = "HttpError";
  readonly status: number;
  readonly headers: Record<string, string>;

  constructor(status: number, message: string, headers: Record<string, string> = {}) {
    super(message);
    this.status = status;
    this.headers = headers;
  }
}

export function answerJson(
  response: ServerResponse,
  status: number,
  value: unknown,
  headers: Record<string, string> = {},
): void {
  const body = Buffer.from(`${JSON.stringify(value)}\n`);
  response.writeHead(status, {
    ...headers,
    "content-type": "application/json",
    "content-length": body.length,
  });
  // To HEAD node sends the head alone.
  response.end(body);
}
