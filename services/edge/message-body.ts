import { Writable } from "node:stream";
import type { Reception } from "./connection.ts";

/**
 * A body on its way from the parser to whoever takes it. The original is a PassThrough, which holds two buffers for
 * every client; this one hands the octets on and holds nothing. To smtp-server it looks like the other, as far as
 * it looks: it asks whether the end was read, waits for "end", and destroys it when the client is gone.
 */
export class MessageBody extends Writable {
  reception: Reception | undefined;
  readable = true;
  readonly readableFlowing = true;

  constructor() {
    // One octet is enough for the parser to wait.
    super({ highWaterMark: 1, decodeStrings: false });
  }

  get readableEnded(): boolean {
    return !this.readable;
  }

  override _write(octets: Buffer, _encoding: string, next: () => void): void {
    if (this.reception) this.reception.take(octets, next);
    else next();
  }

  override _final(finished: () => void): void {
    // Not from within: the parser is still at the final dot, and an answer would set it going again.
    process.nextTick(() => {
      this.readable = false;
      finished();
      this.emit("end");
      this.reception?.end();
    });
  }

  override _destroy(error: Error | null, destroyed: (error: Error | null) => void): void {
    destroyed(error);
    if (this.readable) this.reception?.abandoned();
  }
}
