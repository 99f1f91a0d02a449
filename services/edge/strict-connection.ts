import type { SMTPServerAddress } from "smtp-server";
import { SMTPConnection } from "smtp-server/lib/smtp-connection.js";
import { isAscii } from "./command-line.ts";
import type { Decisions } from "./connection.ts";
import { refusals } from "./refusal.ts";

// Everything that knows smtp-server from the inside is in this file and in guarded-connection.ts, guarded-server.ts,
// message-body.ts and proxied-server.ts, and was read in version 3.21.6, which package.json pins. Each override says
// what the original would do.

const auth = /^\s*auth\b/i;

/** smtp-server's connection, held to what the RFCs say of commands and their parameters. */
export abstract class StrictConnection extends SMTPConnection {
  protected abstract get decisions(): Decisions;

  /** Whether nobody but the client can hear a password. */
  protected get confidential(): boolean {
    return this.secure && this.session.secure;
  }

  /** The original offers AUTH in the clear as well, and would take it where there is no STARTTLS. */
  override _isSupported(command: string): boolean {
    return super._isSupported(command) && (this.confidential || !auth.test(command));
  }

  /** RFC 4954 §4: not within a transaction, and only after EHLO. The original lets both pass. */
  override handler_AUTH(command: Buffer, callback: () => void): void {
    if (this.session.envelope.mailFrom || this.openingCommand !== "EHLO") {
      this.send(503, "5.5.1 AUTH comes after EHLO, and before MAIL");
      callback();
      return;
    }
    super.handler_AUTH(command, callback);
  }

  /** Not in smtp-server, which would answer 500 (RFC 5321 §3.5.3). */
  handler_EXPN(_command: Buffer, callback: () => void): void {
    this.send(502, "5.5.1 Command not implemented");
    callback();
  }

  /** RFC 5321 §4.1.1.11: a parameter that is not understood is refused. The original lets any pass. */
  override _rejectInvalidParams(parsed: SMTPServerAddress, valued: string[], callback: () => void): boolean {
    const { mail, rcpt } = this.decisions.parameters;
    const known = valued.includes("ORCPT") ? rcpt : mail;
    if (parsed.args && Object.keys(parsed.args).some((name) => !known.has(name))) {
      this.send(refusals.unknownParameter.responseCode, refusals.unknownParameter.message);
      callback();
      return true;
    }
    return super._rejectInvalidParams(parsed, valued, callback);
  }

  /** The original keeps what a refused MAIL had set, for the next one. */
  override _applyMailParams(parsed: SMTPServerAddress): void {
    const { envelope } = this.session;
    envelope.bodyType = "7bit";
    envelope.smtpUtf8 = false;
    super._applyMailParams(parsed);
  }

  /** The original turns a domain's A-labels into U-labels: an address in ASCII would come out as one in UTF-8. */
  override _parseAddressCommand(
    name: string,
    command: Buffer | string,
  ): ReturnType<SMTPConnection["_parseAddressCommand"]> {
    const parsed = super._parseAddressCommand(name, command);
    if (parsed && !isAscii(parsed.address)) {
      const path = /<(?:@[^:>]*:)?([^>]*)>/.exec(command.toString());
      if (path?.[1]) parsed.address = path[1];
    }
    return parsed;
  }
}
