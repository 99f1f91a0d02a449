import { randomUUID } from "node:crypto";
import {
  closeSync,
  createReadStream,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
} from "node:fs";
import { mkdir, open, readFile, rm, rmdir } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import type { Readable } from "node:stream";
import { type MessageId, messageIdSchema } from "@millrace/mail";
import { decodeTime } from "ulid";
import { BlobDraft } from "./blob-draft.ts";
import type { StoreItem } from "./mail-store.ts";
import { NotStored } from "./not-stored.ts";

/** Files of one batch that are open at a time. */
const groupSize = 128;
/** Octets of a blob that is read without going through the thread pool. */
const readAtOnce = 65_536;
/** Milliseconds after which a temporary file cannot belong to a writer that still lives. */
const leftoverAge = 3_600_000;
/** Milliseconds after which nobody is expected to write to a minute's folder any more. */
const folderAge = 2 * 86_400_000;

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
  private readonly durable = new Map<string, Promise<void>>();

  constructor(directory: string) {
    this.directory = resolve(directory);
    this.temporary = join(this.directory, "blobs", "tmp");
  }

  /** Makes the place for writers and removes what writers before left half written. */
  prepare(now = Date.now()): void {
    const made = mkdirSync(this.temporary, { recursive: true });
    // The store's own name, and those of the folders above that this call made.
    const top = dirname(made !== undefined && made.length < this.directory.length ? made : this.directory);
    for (let folder = this.directory; ; folder = dirname(folder)) {
      const file = openSync(folder, "r");
      fsyncSync(file);
      closeSync(file);
      if (folder === top) break;
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
    for (let start = 0; start < items.length; start += groupSize) {
      await this.putGroup(items.slice(start, start + groupSize), failures);
    }
    return failures;
  }

  /**
   * Step by step for the whole group, not file by file: the file system then gathers the new files in one commit
   * that all fsyncs share, and none is opened while that commit is being written.
   */
  private async putGroup(items: readonly StoreItem[], failures: Map<MessageId, Error>): Promise<void> {
    // One folder for all that is unfinished, so that cleaning up after a crash is one look into one folder.
    const drafts = items.map((item) => {
      const { id } = item.manifest;
      return new BlobDraft(
        item,
        join(this.directory, blobPath(id)),
        join(this.temporary, `${id}.${randomUUID()}`),
      );
    });
    const failed = (draft: BlobDraft, error: unknown) => {
      draft.discard();
      // Somebody may have removed the folder under us: the next attempt makes it again.
      this.durable.delete(draft.folder);
      failures.set(draft.id, error as Error);
    };
    const each = async (step: (draft: BlobDraft) => Promise<void>) => {
      const open = drafts.filter((draft) => !failures.has(draft.id));
      await Promise.all(open.map((draft) => step(draft).catch((error) => failed(draft, error))));
    };
    await each((draft) => this.makeDurable(draft.folder));
    await each((draft) => draft.write());
    await each((draft) => draft.sync());
    await each((draft) => draft.rename());
    // Also for blobs that were there already: a crash may have come between their rename and this fsync.
    const synced = new Map<string, Promise<void>>();
    await each((draft) => {
      const folder = synced.get(draft.folder) ?? syncFolder(draft.folder);
      synced.set(draft.folder, folder);
      return folder;
    });
  }

  /** The blob as a stream. @throws NotStored when it is missing or not whole */
  open(id: MessageId, size: number): Readable {
    return createReadStream(this.whole(id, size));
  }

  /** The blob in one piece. @throws NotStored when it is missing or not whole */
  async read(id: MessageId, size: number): Promise<Buffer> {
    const path = this.whole(id, size);
    // A small file that was just written comes from memory, in less time than a trip to the thread pool takes.
    return size <= readAtOnce ? readFileSync(path) : readFile(path);
  }

  /** What is wrong with the blob's file, by its size; undefined when nothing is. */
  defect(id: MessageId, size: number): string | undefined {
    const path = join(this.directory, blobPath(id));
    const found = statSync(path, { throwIfNoEntry: false });
    if (found?.size === size) return undefined;
    const state = found ? `has ${found.size} octets where ${size} were written` : "is missing";
    return `its index row is there, but the blob ${path} ${state}; restore it from a backup`;
  }

  /** Unlinks blobs for good. Those that are not there are none to worry about. */
  async remove(ids: readonly MessageId[], now = Date.now()): Promise<void> {
    const paths = ids.map((id) => join(this.directory, blobPath(id)));
    await Promise.all(paths.map((path) => rm(path, { force: true })));
    // Another writer may hold a young folder for durable, and write to it: only old ones go when they are empty.
    const old = ids.filter((id) => now - decodeTime(id) > folderAge);
    const emptied = old.map((id) => join(this.directory, dirname(blobPath(id))));
    for (const folder of [...new Set(emptied), ...new Set(emptied.map((minute) => dirname(minute)))]) {
      await removeEmptyFolder(folder);
      this.durable.delete(folder);
    }
    // A name that is gone only from memory would come back with the next power cut.
    const folders = paths.flatMap((path) => [dirname(path), dirname(dirname(path))]);
    const synced = [...new Set([...folders, join(this.directory, "blobs")])];
    await Promise.all(synced.map((folder) => syncFolder(folder).catch(ignoreMissing)));
  }

  private whole(id: MessageId, size: number): string {
    const defect = this.defect(id, size);
    if (defect) throw new NotStored(id, defect);
    return join(this.directory, blobPath(id));
  }

  /**
   * Makes a folder below the store's and fsyncs every folder that names it. Done once for each folder even when
   * it exists: whoever made it may have crashed before its own fsync.
   */
  private makeDurable(folder: string): Promise<void> {
    const known = this.durable.get(folder);
    if (known) return known;
    // Mail comes in by the minute; yesterday's folders need no place here.
    if (this.durable.size > 2_000) this.durable.clear();
    const made = (async () => {
      await mkdir(folder, { recursive: true });
      for (let at = folder; at !== this.directory; at = dirname(at)) await syncFolder(dirname(at));
    })();
    this.durable.set(folder, made);
    return made;
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

async function removeEmptyFolder(folder: string): Promise<void> {
  try {
    await rmdir(folder);
  } catch (error) {
    const { code = "" } = error as NodeJS.ErrnoException;
    if (!["ENOENT", "ENOTEMPTY", "EEXIST"].includes(code)) throw error;
  }
}

function ignoreMissing(error: NodeJS.ErrnoException): void {
  if (error.code !== "ENOENT") throw error;
}
