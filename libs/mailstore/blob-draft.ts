import {
  closeSync,
  fdatasync,
  openSync,
  renameSync,
  rmSync,
  statSync,
  write as writeFile,
  writeFileSync,
} from "node:fs";
import { dirname } from "node:path";
import type { Readable } from "node:stream";
import { promisify } from "node:util";
import { type Manifest, type MessageId, TemporaryFailure } from "@millrace/mail";
import type { StoreItem } from "./mail-store.ts";

const datasync = promisify(fdatasync);
const write = promisify(writeFile);

/** Octets of a message's blob: what the client sent, and our Received field before it. */
export function blobSize(manifest: Manifest): number {
  return manifest.receivedFieldSize + manifest.size;
}

/**
 * One blob on its way to the disk: write, sync, rename, in this order. Only what waits for the disk goes through
 * the thread pool: the trip there costs more than opening or renaming a file does.
 */
export class BlobDraft {
  readonly id: MessageId;
  readonly folder: string;
  private readonly item: StoreItem;
  private readonly path: string;
  private readonly temporary: string;
  /** Undefined before `write`, after `rename`, and for a blob that was there already. */
  private file: number | undefined;

  constructor(item: StoreItem, path: string, temporary: string) {
    this.id = item.manifest.id;
    this.folder = dirname(path);
    this.item = item;
    this.path = path;
    this.temporary = temporary;
  }

  /** @throws TemporaryFailure when there are more or fewer octets than the manifest says */
  async write(): Promise<void> {
    const { manifest, raw } = this.item;
    if (Buffer.isBuffer(raw)) expectOctets(manifest, raw.length);
    if (statSync(this.path, { throwIfNoEntry: false })?.size === blobSize(manifest)) return;
    this.file = openSync(this.temporary, "wx");
    if (Buffer.isBuffer(raw)) writeFileSync(this.file, raw);
    else await copy(raw(), this.file, manifest);
  }

  async sync(): Promise<void> {
    // Flushes the octets and the size. Times are all that fsync would add.
    if (this.file !== undefined) await datasync(this.file);
  }

  async rename(): Promise<void> {
    if (this.file === undefined) return;
    renameSync(this.temporary, this.path);
    closeSync(this.file);
    this.file = undefined;
  }

  /** Leaves nothing behind of a blob that could not be written. */
  discard(): void {
    if (this.file === undefined) return;
    closeSync(this.file);
    this.file = undefined;
    try {
      rmSync(this.temporary, { force: true });
    } catch {
      // A disk that turned read-only, say. The next writer to start looks for leftovers.
    }
  }
}

function expectOctets(manifest: Manifest, octets: number): void {
  if (octets === blobSize(manifest)) return;
  throw new TemporaryFailure(
    `message ${manifest.id} came with ${octets} octets where its manifest says ${blobSize(manifest)}`,
    { code: "OCTET_COUNT" },
  );
}

/** Writes a stream that has as many octets as the manifest says; fails any other. */
async function copy(raw: Readable, file: number, manifest: Manifest): Promise<void> {
  let octets = 0;
  for await (const chunk of raw as AsyncIterable<Buffer>) {
    octets += chunk.length;
    // One that is too long must not fill the disk before it is found out.
    if (octets > blobSize(manifest)) expectOctets(manifest, octets);
    for (let at = 0; at < chunk.length; ) at += (await write(file, chunk, at)).bytesWritten;
  }
  expectOctets(manifest, octets);
}
