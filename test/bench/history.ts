import { createHash } from "node:crypto";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { emptyParsedMessage, type JournalEntry, type MessageId, newMessageId } from "@millrace/mail";
import { openMailStore, type StoreItem } from "@millrace/mailstore";
import { Installation } from "../support/millrace.ts";
import { give } from "./rate.ts";
import type { Row } from "./table.ts";

/** A worker that only looks: what is measured is the replay. */
const worker = "count-words";
/** Most messages a new worker is given. */
const backfilled = 50_000;
/** Messages in one transaction. */
const together = 1_000;

export interface HistoryOptions {
  /** Messages in the mail store, each with a dead letter; half of these are replayed. */
  stored: number;
  /** Messages a second at which dead letters are replayed. */
  rate: number;
  say(line: string): void;
}

interface AuditResult {
  ms: number;
  holds: boolean;
  accepted: number;
}

/** What work on much old mail takes: an audit of all of it, a replay at a rate, a new worker over everything. */
export async function history({ stored, rate, say }: HistoryOptions): Promise<Row[]> {
  const about = `${stored.toLocaleString("en")} stored messages`;
  const row = (what: string, unit: string): Row => ({ what, unit, system: "Millrace", values: [] });
  const rows = {
    index: row(`audit of ${about}, without blobs`, "s"),
    size: row(`audit of ${about}, blobs by size`, "s"),
    replay: row(`replay of dead letters at ${rate}/s`, "msg/s"),
    backfill: row(`a new worker over ${Math.min(stored, backfilled).toLocaleString("en")} of them`, "msg/s"),
  };
  const millrace = new Installation({ env: { LOG_LEVEL: "error" } });
  let running: ReturnType<Installation["start"]> | undefined;
  try {
    say(`filling a mail store with ${about}`);
    const selected = await fill(join(millrace.folder, "var/mail"), stored, say);
    await millrace.up();
    for (const [how, into] of [
      ["none", rows.index],
      ["size", rows.size],
    ] as const) {
      const { ms, holds, accepted } = await millrace.json<AuditResult>("audit", "--blobs", how);
      if (!holds || accepted !== stored)
        throw new Error(`the audit tells of ${accepted} messages, holds: ${holds}`);
      into.values.push(ms / 1_000);
      say(`${into.what}: ${(ms / 1_000).toFixed(1)} s`);
    }
    running = millrace.start(["worker", resolve(import.meta.dirname, "../fixtures/count-words.ts")]);
    while (!running.output().includes('"ready"')) await sleep(50);

    const replayed = await millrace.json<{ replayed: number; seconds: number }>(
      ...["replay", "--error", "ECONNREFUSED", "--worker", worker, "--rate", String(rate)],
    );
    const { seconds } = replayed;
    if (replayed.replayed !== selected) throw new Error(`${replayed.replayed} of ${selected} were replayed`);
    rows.replay.values.push(selected / seconds);
    say(`${rows.replay.what}: ${selected} in ${seconds.toFixed(1)} s`);
    await idle(millrace);

    const begun = performance.now();
    const most = Math.min(stored, backfilled);
    const all = await millrace.json<{ replayed: number }>(
      ...["replay", "--all", "--worker", worker, "--limit", String(most)],
    );
    await idle(millrace);
    if (all.replayed !== most) throw new Error(`${all.replayed} of ${most} went to the new worker`);
    rows.backfill.values.push((most * 1_000) / (performance.now() - begun));
    const after = await millrace.json<AuditResult>("audit", "--blobs", "none");
    if (!after.holds) throw new Error("the audit does not hold after the replays");
  } catch (error) {
    for (const each of Object.values(rows)) if (each.values.length === 0) give(each, error);
  } finally {
    await running?.stop();
    await millrace.remove();
  }
  return Object.values(rows);
}

/** @returns how many dead letters have the error that is replayed: half of them */
async function fill(directory: string, stored: number, say: (line: string) => void): Promise<number> {
  const store = openMailStore({ directory });
  let selected = 0;
  let n = 0;
  for (let done = 0; done < stored; done += together) {
    const items = Array.from({ length: Math.min(together, stored - done) }, (_, i) => item(done + i));
    await store.put(items);
    const entries: JournalEntry[] = [];
    for (const [index, { manifest }] of items.entries()) {
      const add = (event: string, by: string, data: Record<string, unknown>) => {
        const seq = `${1_700_000_000_000 + Math.floor(++n / 1_000)}-${n % 1_000}`;
        entries.push({
          seq,
          at: Date.now(),
          message: manifest.id,
          event,
          worker: by,
          attempt: 1,
          ms: 1,
          data,
        });
      };
      add("message.received", "edge", { from: manifest.envelope.from });
      add("message.parsed", "parse", { unparsed: false, defects: [] });
      add("delivery.succeeded", "deliver", {
        ...target,
        recipients: manifest.envelope.recipients,
        reply: "250 ok",
      });
      const refused = index % 2 === 0;
      if (refused) selected++;
      add("job.dead", worker, deadJob(refused ? "ECONNREFUSED" : "ETIMEDOUT"));
    }
    store.archive(entries);
    if (done % 100_000 === 0 && done > 0) say(`${done.toLocaleString("en")} are in`);
  }
  store.close();
  return selected;
}

const target = { target: "smtp-1", label: "smtp:smtp://127.0.0.1", attempt: 1, ms: 1 };

function deadJob(code: string): Record<string, unknown> {
  const work = { event: "message.parsed", at: Date.now(), data: { unparsed: false, defects: [] } };
  const failure = { class: "TemporaryFailure", message: `it said ${code}`, permanent: false, code };
  return { job: `${worker}/message.parsed`, attempts: 3, failure, work };
}

function item(number: number): StoreItem {
  const id: MessageId = newMessageId();
  const field = `Received: from client by mx.example.com with ESMTP id ${id}\r\n`;
  const text = `From: sender@example.com\r\nTo: box${number % 500}@example.com\r\nSubject: Number ${number}\r\n\r\n${"A line of text.\r\n".repeat(50)}`;
  const body = Buffer.from(text);
  return {
    manifest: {
      ...{ v: 1, id, receivedAt: Date.now(), size: body.length, receivedFieldSize: field.length },
      sha256: createHash("sha256").update(body).digest("hex"),
      envelope: {
        ...{ from: "sender@example.com", recipients: [`box${number % 500}@example.com`], smtputf8: false },
        ...{ body: null, client: { ip: "192.0.2.1", port: 4711 }, helo: "client", protocol: "ESMTP" },
        ...{ tls: null, user: null },
      },
    },
    parsed: { ...emptyParsedMessage([]), subject: `Number ${number}`, text: "A line of text. ".repeat(50) },
    raw: Buffer.concat([Buffer.from(field), body]),
  };
}

async function idle(millrace: Installation): Promise<void> {
  for (;;) {
    const { inFlight, journalBacklog } = await millrace.json<{ inFlight: number; journalBacklog: number }>(
      "status",
    );
    if (inFlight === 0 && journalBacklog === 0) return;
    await sleep(200);
  }
}
