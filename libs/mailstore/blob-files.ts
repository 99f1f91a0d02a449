import { randomUUID } from "node:crypto";
import {
  closeSync,
  createReadStream,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  rmSync,
  statSync,
} from "node:fs";
import { type FileHandle, mkdir, open, readFile, rename, rm } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import type { Readable } from "node:stream";
import { type Manifest, type MessageId, messageIdSchema, TemporaryFailure } from "@millrace/mail";
import { decodeTime } from "ulid";
import type { StoreItem } from "./mail-store.ts";
import { NotStored } from "./not-stored.ts";

/** Blobs of one batch that are written at a time: enough for their fsyncs to share the disk's commits. */
const concurrency = 64;
/** Milliseconds after which a temporary file cannot belong to a writer that still lives. */
const leftoverAge = 3_600_000;

/** Octets of a message's blob: what the client sent, and our Received field before it. */
export function blobSize(manifest: Manifest): number {
  return manifest.receivedFieldSize + manifest.size;
}

/** Path of a message's blob below the store's folder: `blobs/2026-07-30/1542/<id>.eml`, UTC. */
export function blobPath(id: MessageId): string {
  // The id alone tells the place. A folder takes one minute's mail: 3,500 files at five million messages a day.
  const time = new Date(decodeTime(messageIdSchema.parse(id))).toISOString();
  const [day, clock] = time.split("T") as [string, string];
  return join("blobs", day, clock.slice(0, 5).replace(":", ""), `${id}.eml`);
}

/** Raw messages as files, one each. A file under its final name is whole: it is renamed after its fsync. */
export class BlobFiles {
  private readonly directory: string;
  private readonly temporary: string;
  /** Folders whose own names are known to be on the disk. */
  private readonly durable = new Set<string>();

  constructor(directory: string) {
    this.directory = resolve(directory);
    this.temporary = join(this.directory, "blobs", "tmp");
  }

  /** Makes the place for writers and removes what writers before left half written. */
  prepare(now = Date.now()): void {
    mkdirSync(this.temporary, { recursive: true });
    for (const folder of [this.directory, dirname(this.directory)]) {
      const fd = openSync(folder, "r");
      fsyncSync(fd);
      closeSync(fd);
    }
    for (const name of readdirSync(this.temporary)) {
      const path = join(this.temporary, name);
      const found = statSync(path, { throwIfNoEntry: false });
      if (found && now - found.mtimeMs > leftoverAge) rmSync(path, { force: true });
    }
  }

  /**
   * Writes blobs, files and folders fsynced. A blob that is there in its full size is kept.
   * @returns why, for each message whose blob is not durable; empty when all are
   */
  async put(items: readonly StoreItem[]): Promise<Map<MessageId, Error>> {
    const failures = new Map<MessageId, Error>();
    const folders = new Map<string, MessageId[]>();
    const queue = items.values();
    const write = async () => {
      for (const { manifest, raw } of queue) {
        try {
          const path = join(this.directory, blobPath(manifest.id));
          await this.write(path, manifest, raw);
          const folder = dirname(path);
          const ids = folders.get(folder);
          if (ids) ids.push(manifest.id);
          else folders.set(folder, [manifest.id]);
        } catch (error) {
          failures.set(manifest.id, error as Error);
        }
      }
    };
    await Promise.all(Array.from({ length: Math.min(concurrency, items.length) }, write));
    // Also for blobs that were there already: a crash may have come between their rename and this fsync.
    await Promise.all(
      Array.from(folders, async ([folder, ids]) => {
        try {
          await syncFolder(folder);
        } catch (error) {
          for (const id of ids) failures.set(id, error as Error);
        }
      }),
    );
    return failures;
  }

  /** The blob as a stream. @throws NotStored when it is missing or not whole */
  open(id: MessageId, size: number): Readable {
    return createReadStream(this.whole(id, size));
  }

  /** The blob in one piece. @throws NotStored when it is missing or not whole */
  async read(id: MessageId, size: number): Promise<Buffer> {
    return readFile(this.whole(id, size));
  }

  private whole(id: MessageId, size: number): string {
    const path = join(this.directory, blobPath(id));
    const found = statSync(path, { throwIfNoEntry: false });
    if (found?.size === size) return path;
    const state = found ? `has ${found.size} octets where ${size} were written` : "is missing";
    throw new NotStored(
      id,
      `its index row is there, but the blob ${path} ${state}; restore it from a backup`,
    );
  }

  private async write(path: string, manifest: Manifest, raw: StoreItem["raw"]): Promise<void> {
    const size = blobSize(manifest);
    if (Buffer.isBuffer(raw)) expectOctets(manifest, raw.length);
    await this.makeDurable(dirname(path));
    if (statSync(path, { throwIfNoEntry: false })?.size === size) return;

    // One folder for all that is unfinished, so that cleaning up after a crash is one look into one folder.
    const temporary = join(this.temporary, `${manifest.id}.${randomUUID()}`);
    let file: FileHandle | undefined;
    try {
      file = await open(temporary, "wx");
      await file.writeFile(Buffer.isBuffer(raw) ? raw : counted(manifest, raw()));
      // Flushes the octets and the size. Times are all that fsync would add.
      await file.datasync();
      await file.close();
      await rename(temporary, path);
    } catch (error) {
      // Somebody may have removed the folder under us: the next attempt makes it again.
      this.durable.delete(dirname(path));
      await file?.close().catch(() => {});
      await rm(temporary, { force: true }).catch(() => {});
      throw error;
    }
  }

  /**
   * Makes a folder below the store's and fsyncs every folder that names it. Done once for each folder even when
   * it exists: whoever made it may have crashed before its own fsync.
   */
  private async makeDurable(folder: string): Promise<void> {
    if (this.durable.has(folder)) return;
    await mkdir(folder, { recursive: true });
    for (let at = folder; at !== this.directory; at = dirname(at)) await syncFolder(dirname(at));
    // Mail comes in by the minute; yesterday's folders need no place here.
    if (this.durable.size > 2_000) this.durable.clear();
    this.durable.add(folder);
  }
}

/** Fsyncs a folder: the names in it. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function expectOctets(manifest: Manifest, octets: number): void {
  if (octets === blobSize(manifest)) return;
  throw new TemporaryFailure(
    `message ${manifest.id} came with ${octets} octets where its manifest says ${blobSize(manifest)}`,
    { code: "OCTET_COUNT" },
  );
}

async function* counted(manifest: Manifest, raw: Readable): AsyncGenerator<Buffer> {
  let octets = 0;
  for await (const chunk of raw) {
    octets += chunk.length;
    // A stream that is too long must not fill the disk before it is found out.
    if (octets > blobSize(manifest)) expectOctets(manifest, octets);
    yield chunk;
  }
  expectOctets(manifest, octets);
}
