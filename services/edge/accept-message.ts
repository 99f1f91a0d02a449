import { createHash, type Hash, hash } from "node:crypto";
import { type Envelope, type Manifest, type MessageId, newMessageId } from "@millrace/mail";
import type { Intake, Unavailable } from "@millrace/pipeline/runtime";
import type { Logger } from "@millrace/service";
import { type Draft, SpoolFull } from "@millrace/spool";
import type { Connection, Reception } from "./connection.ts";
import { HeaderStart } from "./header-start.ts";
import { HopCount } from "./hop-count.ts";
import { LineEndings } from "./line-endings.ts";
import type { hopsPolicy } from "./policies/own-policies.ts";
import type { Policies } from "./policies/policies.ts";
import { dataFacts } from "./policies/transaction-facts.ts";
import type { TransactionTags } from "./policies/transaction-tags.ts";
import { receivedField } from "./received-field.ts";
import { Refusal, refusalOf, refusals } from "./refusal.ts";
import { envelopeOf } from "./transaction-envelope.ts";
import type { Turns } from "./turns.ts";

export interface MessageRules {
  hostname: string;
  intake: Pick<Intake, "unavailable" | "draft" | "accept">;
  policies: Policies;
  tags: TransactionTags;
  /** Milliseconds for the commit. */
  commitTimeout: number;
  /** Turns at writing to the spool, shared by all messages. */
  turns: Turns;
  log: Logger;
  /** Octets of the largest message. */
  maxOctets: number;
  /** Asked as the Received fields come. */
  hops: ReturnType<typeof hopsPolicy>;
  bareLineEndings: "reject" | "normalize";
}

/** Octets, or pieces, held before they go to the spool: most messages are held whole and need no pause. */
const heldOctetsMax = 16_384;
const heldPiecesMax = 64;
/** Octets a client may still send of a message the backend has failed; then the connection is closed. */
const drainAfterFailure = 1_048_576;

/** Takes in one message: body into the spool, then the commit, then the reply. */
export function acceptMessage(rules: MessageRules, connection: Connection): Reception {
  return new Acceptance(rules, connection);
}

/**
 * receiving: octets go to the spool. refused: the rest is read and dropped, the reply follows the final dot.
 * deciding: policies are asked. committing: the spool decides. answered: nothing more to say.
 */
type State = "receiving" | "refused" | "deciding" | "committing" | "answered";

class Acceptance implements Reception {
  private readonly rules: MessageRules;
  private readonly connection: Connection;
  private readonly id: MessageId = newMessageId();
  private readonly envelope: Envelope;
  private readonly draft: Draft;
  private readonly hops = new HopCount();
  private readonly lineEndings = new LineEndings();
  /** Only where policies are asked about messages. */
  private readonly headerStart: HeaderStart | undefined;
  /** Our Received field until it is in the spool; it goes before everything else. */
  private field: Buffer | undefined;
  private readonly fieldSize: number;
  private state: State = "receiving";
  private refusal: Refusal = refusals.temporary;
  /** Lets the client go on: there while a write to the spool is under way or waits for its turn. */
  private next: (() => void) | undefined;
  private writing = false;
  private held: Buffer[] = [];
  private heldOctets = 0;
  /** Octets of the message, as they are stored. */
  private size = 0;
  /** Octets the client has sent, and how many of them are too many. */
  private received = 0;
  private receivedMax: number;
  /** Of the octets that went to the spool before the end; most messages never need it. */
  private digest: Hash | undefined;

  constructor(rules: MessageRules, connection: Connection) {
    this.rules = rules;
    this.connection = connection;
    this.receivedMax = 2 * rules.maxOctets;
    this.envelope = envelopeOf(connection);
    if (rules.policies.asks("data")) this.headerStart = new HeaderStart();
    const field = receivedField({
      id: this.id,
      hostname: rules.hostname,
      envelope: this.envelope,
      at: Date.now(),
    });
    this.field = Buffer.from(field, "utf8");
    this.fieldSize = this.field.length;
    this.draft = rules.intake.draft(this.id);
    // Since MAIL it may have become full. (One that is away may be back before it is needed.)
    const unavailable = rules.intake.unavailable();
    if (unavailable?.why === "full") {
      this.receivedMax = Math.min(this.receivedMax, drainAfterFailure);
      this.refuse(refusals.full, new SpoolFull(unavailable.reason));
    }
  }

  take(chunk: Buffer, next: () => void): void {
    this.received += chunk.length;
    if (this.state === "receiving") {
      this.hold(chunk);
    } else if (this.received > this.receivedMax) {
      this.receivedMax = Number.POSITIVE_INFINITY;
      this.connection.cut(whenCut.get(this.refusal) ?? this.refusal);
    }
    if (this.heldOctets > heldOctetsMax || this.held.length >= heldPiecesMax) this.spool(next);
    else next();
  }

  private hold(chunk: Buffer): void {
    const octets = this.rules.bareLineEndings === "normalize" ? this.lineEndings.normalize(chunk) : chunk;
    const refusal = this.judge(octets);
    if (refusal) {
      this.refuse(refusal);
      return;
    }
    this.headerStart?.add(octets);
    this.held.push(octets);
    this.heldOctets += octets.length;
  }

  private judge(octets: Buffer): Refusal | undefined {
    const { maxOctets, hops, bareLineEndings } = this.rules;
    if (bareLineEndings === "reject" && this.lineEndings.scan(octets) > 0) return refusals.bareLineEnding;
    this.size += octets.length;
    if (this.size > maxOctets) return refusals.tooLarge;
    this.hops.scan(octets);
    return refusalOf(hops.decide({ hops: this.hops.hops }), hops.name);
  }

  /** Writes what is held. The client waits meanwhile, so that no message is in memory as a whole. */
  private spool(next: () => void): void {
    this.writing = true;
    this.next = next;
    this.rules.turns.take(() => this.write());
  }

  private write(): void {
    // While this waited for its turn the client may have left, or the backend.
    const unavailable = this.rules.intake.unavailable("under way");
    if (this.state !== "receiving" || unavailable) {
      this.written(unavailable && asError(unavailable));
      return;
    }
    this.digest ??= createHash("sha256");
    for (const piece of this.held) this.digest.update(piece);
    this.draft.write(this.takeHeld()).then(
      () => this.written(),
      (error: Error) => this.written(error),
    );
  }

  private written(error?: Error): void {
    this.rules.turns.done();
    this.writing = false;
    if (this.state !== "receiving") {
      // Refused, or the client left, while this was under way: only now is there nobody writing any more.
      void this.draft.abort();
    } else if (error) {
      this.receivedMax = Math.min(this.receivedMax, this.received + drainAfterFailure);
      this.refuse(refusalFor(error), error);
    }
    this.goOn();
  }

  private goOn(): void {
    const next = this.next;
    this.next = undefined;
    next?.();
  }

  /** Everything held, our Received field first if it is not in the spool yet. */
  private takeHeld(): Buffer {
    const pieces = this.field ? [this.field, ...this.held] : this.held;
    this.field = undefined;
    this.held = [];
    this.heldOctets = 0;
    return pieces.length === 1 ? (pieces[0] as Buffer) : Buffer.concat(pieces);
  }

  end(): void {
    if (this.state === "refused") {
      this.answer(this.refusal);
    } else if (this.state === "receiving") {
      const sha256 = this.sha256();
      if (this.headerStart)
        this.decide(sha256, this.headerStart).catch((error: Error) => this.undecided(error));
      else this.beginCommit(sha256, this.rules.tags.of(this.connection));
    }
  }

  /** Asks the policies about the whole message. */
  private async decide(sha256: string, header: HeaderStart): Promise<void> {
    const { connection, rules, id: message, size } = this;
    const { policies, tags, commitTimeout } = rules;
    this.state = "deciding";
    connection.allow(policies.longest + commitTimeout);
    const body = { message, size, sha256, hops: this.hops.hops, headers: header.fields() };
    const answer = await policies.ask(dataFacts(connection, body, tags.of(connection)));
    if (this.state !== "deciding") return;
    if (answer instanceof Refusal) {
      this.refuse(answer);
      this.answer(answer);
    } else {
      connection.allow(commitTimeout);
      this.beginCommit(sha256, answer);
    }
  }

  private beginCommit(sha256: string, tags: string[]): void {
    this.state = "committing";
    this.commit(sha256, tags).then(
      () => this.accepted(),
      (error: Error) => this.failed(error),
    );
  }

  private async commit(sha256: string, tags: string[]): Promise<void> {
    const manifest: Manifest = {
      v: 1,
      id: this.id,
      receivedAt: Date.now(),
      size: this.size,
      sha256,
      receivedFieldSize: this.fieldSize,
      envelope: tags.length > 0 ? { ...this.envelope, tags } : this.envelope,
    };
    try {
      const unavailable = this.rules.intake.unavailable("under way");
      if (unavailable?.why === "full") throw asError(unavailable);
      await this.draft.write(this.takeHeld());
    } catch (error) {
      // No commit was asked for, so nothing of it may stay.
      void this.draft.abort();
      throw error;
    }
    await this.rules.intake.accept(this.draft, manifest);
  }

  private sha256(): string {
    if (!this.digest && this.held.length === 1) return hash("sha256", this.held[0] as Buffer, "hex");
    const digest = this.digest ?? createHash("sha256");
    for (const piece of this.held) digest.update(piece);
    return digest.digest("hex");
  }

  private accepted(): void {
    const { id, envelope, size, rules } = this;
    if (this.state === "answered") {
      rules.log.warn({ message: id }, "accepted after its client was told 451; a second copy may follow");
      return;
    }
    rules.log.info(
      {
        message: id,
        from: envelope.from,
        recipients: envelope.recipients.length,
        size,
        client: envelope.client.ip,
      },
      "accepted",
    );
    // After this 250 the client forgets the message; from here a loss is ours.
    this.answer(undefined, `2.0.0 Ok: queued as ${id}`);
  }

  /** The draft is left alone: a commit that timed out may still happen, and an abort would take its body away. */
  private failed(error: Error): void {
    const refusal = refusalFor(error);
    this.logRefusal(refusal, error);
    if (this.state !== "answered") this.answer(refusal);
  }

  overdue(): void {
    const error = new Error("the spool took longer than SMTP_COMMIT_TIMEOUT_SECONDS");
    if (this.state === "committing") {
      this.logRefusal(refusals.temporary, error);
      this.answer(refusals.temporary);
    } else if (this.state === "receiving") {
      // The end of the body waits behind a write that does not end.
      this.refuse(refusals.temporary, error);
      this.goOn();
    } else if (this.state === "deciding") {
      this.undecided(new Error("the policies have not decided in their time"));
    }
  }

  private undecided(error: Error): void {
    this.refuse(refusals.temporary, error);
    this.answer(refusals.temporary);
  }

  /** Before the final dot nothing of the message may stay. Once that has come, the commit goes on without the client. */
  abandoned(): void {
    if (this.state !== "receiving") return;
    this.state = "answered";
    this.rules.log.info({ message: this.id, client: this.envelope.client.ip }, "abandoned");
    this.drop();
  }

  private refuse(refusal: Refusal, error?: Error): void {
    this.state = "refused";
    this.refusal = refusal;
    this.logRefusal(refusal, error);
    this.drop();
  }

  private drop(): void {
    this.held = [];
    this.heldOctets = 0;
    if (!this.writing) void this.draft.abort();
  }

  private answer(refusal: Refusal | undefined, text?: string): void {
    this.state = "answered";
    this.connection.answer(refusal, text);
  }

  private logRefusal(refusal: Refusal, error?: Error): void {
    const { id, envelope, size } = this;
    const line = {
      message: id,
      reason: refusal.message,
      policy: refusal.policy,
      from: envelope.from,
      size,
      client: envelope.client.ip,
    };
    if (error) this.rules.log.warn({ ...line, err: error }, "refused");
    else this.rules.log.info(line, "refused");
  }
}

/** What a client hears at once that goes on sending a message which is refused already. */
const whenCut = new Map<Refusal, Refusal>([
  [refusals.temporary, refusals.temporaryAndCut],
  [refusals.full, refusals.fullAndCut],
]);

function refusalFor(error: Error): Refusal {
  return error instanceof SpoolFull ? refusals.full : refusals.temporary;
}

function asError({ why, reason }: Unavailable): Error {
  return why === "full" ? new SpoolFull(reason) : new Error(reason);
}
