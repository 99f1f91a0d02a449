import { open } from "node:fs/promises";

/**
 * Makes the entries of folders durable. Requests for one folder share an fsync: whoever comes while one is under way
 * waits for the next, since the one under way may have begun before the newcomer's rename.
 */
export class FolderSync {
  private readonly running = new Map<string, { current: Promise<void>; next: Promise<void> | undefined }>();

  /** Resolves when every change of the folder made before this call is on disk. */
  sync(folder: string): Promise<void> {
    const turn = this.running.get(folder);
    if (!turn) return this.start(folder);
    turn.next ??= turn.current.catch(() => {}).then(() => this.start(folder));
    return turn.next;
  }

  private start(folder: string): Promise<void> {
    const current = fsyncFolder(folder).finally(() => {
      // When somebody waits, their turn has taken this one's place or is about to.
      if (this.running.get(folder)?.current === current && !this.running.get(folder)?.next)
        this.running.delete(folder);
    });
    this.running.set(folder, { current, next: undefined });
    return current;
  }
}

async function fsyncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
