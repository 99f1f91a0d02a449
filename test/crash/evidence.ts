import { hash } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type MailStore, openMailStore } from "@millrace/mailstore";
import { type Arrival, readDelivered } from "./arrival.ts";
import type { Sent } from "./load.ts";
import type { TargetName } from "./message.ts";
import type { Site } from "./site.ts";

/** A message as the mail store has it. */
export interface Stored {
  id: string;
  state: string;
  to: string[];
  /** SHA-256 of the octets that are there, without our Received field; the reason when they cannot be read. */
  sha256: string | { unreadable: string };
}

/** All that is known of an installation's mail, from its first round on. */
export interface Evidence {
  sent: readonly Sent[];
  stored: readonly Stored[];
  arrivals: Record<TargetName, readonly Arrival[]>;
}

/** Collects the evidence at one site: what senders say, what the mail store has, what the targets have received. */
export class Collector {
  readonly sent: Sent[] = [];
  /** What the rounds before have found repeated, so that a round answers for its own. */
  readonly repeated = new Set<string>();
  private readonly site: Site;
  private readonly hashes = new Map<string, string>();
  private readonly maildirs = new Map<string, Arrival>();

  constructor(site: Site) {
    this.site = site;
  }

  /** Ids of all messages that were acknowledged. */
  acknowledged(): string[] {
    return this.sent.flatMap(({ fate }) => (fate.state === "acknowledged" ? [fate.id] : []));
  }

  /** Forgets what was read from disks: after a power cut nothing is taken for granted that was there before. */
  mistrustDisks(): void {
    this.hashes.clear();
    this.maildirs.clear();
  }

  async collect(): Promise<Evidence> {
    return {
      sent: this.sent,
      stored: await this.stored(),
      arrivals: {
        smtp: this.site.smtp.arrivals,
        webhook: this.site.webhook.arrivals,
        maildir: this.readMaildirs(),
      },
    };
  }

  private async stored(): Promise<Stored[]> {
    const mailstore = openMailStore({ directory: this.site.mail, readOnly: true });
    try {
      const all: Stored[] = [];
      for (const { id, state, to } of mailstore.list({ limit: Number.MAX_SAFE_INTEGER }))
        all.push({ id, state, to, sha256: await this.hashOf(mailstore, id) });
      return all;
    } finally {
      mailstore.close();
    }
  }

  private async hashOf(mailstore: MailStore, id: string): Promise<Stored["sha256"]> {
    const known = this.hashes.get(id);
    if (known) return known;
    try {
      const raw = await mailstore.read(id);
      const sha256 = hash("sha256", raw.subarray(mailstore.manifest(id)?.receivedFieldSize), "hex");
      this.hashes.set(id, sha256);
      return sha256;
    } catch (error) {
      return { unreadable: (error as Error).message };
    }
  }

  private readMaildirs(): Arrival[] {
    const top = join(this.site.folder, "var/maildir");
    const recipients = existsSync(top) ? readdirSync(top) : [];
    return recipients.flatMap((recipient) => {
      const folder = this.site.maildir(recipient);
      return (existsSync(folder) ? readdirSync(folder) : []).map((name) => {
        const path = join(folder, name);
        const arrival = this.maildirs.get(path) ?? {
          ...readDelivered(readFileSync(path)),
          recipients: [recipient],
        };
        this.maildirs.set(path, arrival);
        return arrival;
      });
    });
  }
}
