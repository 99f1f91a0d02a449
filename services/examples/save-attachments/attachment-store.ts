import type { Readable } from "node:stream";

/** Where attachments go. */
export interface AttachmentStore {
  /**
   * Writes a file, durably, and shows it only when it is whole; one that is there is left as it is. The stream is used
   * up or destroyed.
   * @param name from `fileName`
   * @returns where it is
   */
  save(name: string, contentType: string, octets: Readable, signal: AbortSignal): Promise<string>;
}
