import { createHash } from "node:crypto";
import type { JournalEntry } from "@millrace/mail";
import { emptyParsedMessage, type MessageId, newMessageId, type ParsedMessage } from "@millrace/mail";
import type { MailStore, StoreItem } from "../mail-store.ts";

/** A place for one store, empty at first. */
export interface StorePlace {
  /** Opens the store of this place; more than once at a time, too. */
  open(): Promise<MailStore>;
  /** Removes everything. */
  end(): Promise<void>;
}

/** What the cases of the suite hold. */
export interface SuiteContext {
  /** The store of the running test. */
  store(): MailStore;
  /** Opens the same store once more. The case closes it. */
  open(): Promise<MailStore>;
  /** Closes the store and opens it again. */
  reopen(): Promise<void>;
}

/** A small message for a store's tests. */
export function storeItem(
  options: {
    id?: MessageId;
    parsed?: Partial<ParsedMessage>;
    body?: Buffer;
    from?: string;
    recipients?: string[];
  } = {},
): StoreItem {
  const id = options.id ?? newMessageId();
  const received = `Received: from client by mx.example.com with ESMTP id ${id}\r\n`;
  const body =
    options.body ?? Buffer.from(`Subject: ${options.parsed?.subject ?? "Hello"}\r\n\r\nA text\r\n`);
  return {
    manifest: {
      v: 1,
      id,
      receivedAt: Date.now(),
      size: body.length,
      sha256: createHash("sha256").update(body).digest("hex"),
      receivedFieldSize: received.length,
      envelope: {
        from: options.from ?? "ann@sender.example",
        recipients: options.recipients ?? ["bob@example.com"],
        smtputf8: false,
        body: null,
        client: { ip: "192.0.2.1", port: 4711 },
        helo: "client",
        protocol: "ESMTP",
        tls: null,
        user: null,
      },
    },
    parsed: { ...emptyParsedMessage([]), subject: "Hello", ...options.parsed },
    raw: Buffer.concat([Buffer.from(received), body]),
  };
}

/** Journal entries with growing seqs, for one test. */
export function journalWriter(): (
  message: MessageId,
  event: string,
  data?: Record<string, unknown>,
) => JournalEntry {
  let n = 0;
  return (message, event, data = {}) => {
    const worker = event.startsWith("delivery.") ? "deliver" : "test";
    // Ten entries and more in one millisecond: an order by text would be wrong.
    const seq = `1785000000000-${++n}`;
    return { seq, at: 1_785_000_000_000 + n, message, event, worker, attempt: 1, ms: 0.5, data };
  };
}
