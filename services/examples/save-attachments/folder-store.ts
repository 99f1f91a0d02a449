import { randomBytes } from "node:crypto";
import { access, mkdir, open, readdir, rename, stat, unlink } from "node:fs/promises";
import { join, resolve } from "node:path";
import type { Readable } from "node:stream";
import type { AttachmentStore } from "./attachment-store.ts";

/** Files under way are called so until they are whole. */
const partial = ".partial-";
/** Milliseconds after which a file under way is one that a killed process has left. */
const leftAfter = 86_400_000;

/** A folder, which is made if it is missing: written beside, fsynced, renamed, and the folder fsynced. */
export async function folderStore(path: string): Promise<AttachmentStore> {
  const folder = resolve(path);
  await mkdir(folder, { recursive: true });
  await removeLeft(folder);
  return {
    async save(name, _contentType, octets, signal) {
      const file = join(folder, name);
      if (await exists(file)) {
        octets.destroy();
        return file;
      }
      const draft = join(folder, `${partial}${name}.${randomBytes(6).toString("hex")}`);
      try {
        await write(draft, octets, signal);
        await rename(draft, file);
      } catch (error) {
        await unlink(draft).catch(() => {});
        throw error;
      }
      await sync(folder);
      return file;
    },
  };
}

async function write(path: string, octets: Readable, signal: AbortSignal): Promise<void> {
  const file = await open(path, "wx", 0o600);
  try {
    for await (const piece of octets as AsyncIterable<Buffer>) {
      signal.throwIfAborted();
      await file.writeFile(piece);
    }
    await file.sync();
  } finally {
    await file.close();
  }
}

/** A new name is on disk only when its folder is. */
async function sync(folder: string): Promise<void> {
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

async function removeLeft(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    if (!name.startsWith(partial)) continue;
    const path = join(folder, name);
    const { mtimeMs } = await stat(path).catch(() => ({ mtimeMs: Date.now() }));
    if (Date.now() - mtimeMs > leftAfter) await unlink(path).catch(() => {});
  }
}
