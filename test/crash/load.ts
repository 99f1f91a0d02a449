import { setTimeout as sleep } from "node:timers/promises";
import { type Mail, newMail } from "./message.ts";
import type { Random } from "./random.ts";
import { type Fate, type Leaving, SmtpClient } from "./smtp-client.ts";

/** A mail that was sent, or tried to. */
export interface Sent {
  mail: Mail;
  fate: Fate;
}

export interface LoadOptions {
  /** Names the mails: no two loads have the same. */
  name: string;
  port: number;
  random: Random;
  senders?: number;
  /** Where a sender hangs up over this mail; undefined when it stays. */
  leaving?(random: Random): Leaving | undefined;
}

/** Milliseconds between two mails of one sender, at most; and between two tries at a port nobody listens on. */
const longestPause = 80;
const retryPause = 50;
/** Mails one connection carries, at most. */
const longestConnection = 12;

/** Several senders at once that go on sending until they are told to end. */
export class Load {
  readonly sent: Sent[] = [];
  private readonly options: LoadOptions;
  private readonly senders: Promise<void>[];
  private readonly wire = { cut: false };
  private ending = false;
  private acknowledgedNow = 0;

  constructor(options: LoadOptions) {
    this.options = options;
    this.senders = Array.from({ length: options.senders ?? 6 }, (_, i) => this.run(i));
  }

  /** How many mails were acknowledged so far. */
  get acknowledged(): number {
    return this.acknowledgedNow;
  }

  /** From now on no octet reaches a sender: what they are waiting for they will never know. */
  cutWire(): void {
    this.wire.cut = true;
  }

  /** Lets senders hear again, once nobody is left of those they were connected to. */
  mendWire(): void {
    this.wire.cut = false;
  }

  /** Lets every sender finish the mail it has in hand. */
  async end(): Promise<Sent[]> {
    this.ending = true;
    await Promise.all(this.senders);
    return this.sent;
  }

  private async run(sender: number): Promise<void> {
    const { port, name } = this.options;
    const random = this.options.random.fork(`sender ${sender}`);
    let number = 0;
    while (!this.ending) {
      const client = await SmtpClient.open(port, this.wire);
      if (!client) {
        await sleep(retryPause);
        continue;
      }
      for (let left = random.integer(1, longestConnection); left > 0 && client.usable; left--) {
        if (this.ending) break;
        const mail = newMail(`${name} ${sender}-${++number}`, random);
        const fate = await client.send(mail, this.options.leaving?.(random));
        if (fate.state === "acknowledged") this.acknowledgedNow++;
        this.sent.push({ mail, fate });
        await sleep(random.integer(0, longestPause));
      }
      client.close();
    }
  }
}
