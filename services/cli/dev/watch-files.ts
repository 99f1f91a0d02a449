import { type FSWatcher, type Stats, statSync, watch } from "node:fs";
import { basename, dirname, join } from "node:path";

/** Milliseconds a file must be left alone: an editor may empty it first and fill it then. */
const settle = 40;

/** Tells of files that were saved. */
export interface FileWatch {
  /** Watches these as well; those that are not there yet, for being made. */
  add(files: Iterable<string>): void;
  /** Watches every file of a folder, not of those in it, whose name fits. */
  addNames(folder: string, fits: (name: string) => boolean): void;
  close(): void;
}

/**
 * Watches folders, not files: an editor may write a new file in the old one's place.
 * @param changed told of each save once, with the absolute path
 */
export function watchFiles(changed: (file: string) => void): FileWatch {
  const watchers = new Map<string, FSWatcher>();
  const rules: ((file: string) => boolean)[] = [];
  const files = new Set<string>();
  /** What each file was like when it was last looked at; a change of its rights alone is none. */
  const known = new Map<string, string>();
  const pending = new Map<string, NodeJS.Timeout>();

  const look = (file: string): void => {
    pending.delete(file);
    const now = versionOf(file);
    // Gone for now: what follows, or the restart that fails without it, will say so.
    if (now === undefined || known.get(file) === now) return;
    known.set(file, now);
    changed(file);
  };
  const watchFolder = (folder: string): void => {
    if (watchers.has(folder)) return;
    try {
      const watcher = watch(folder, { persistent: false }, (_, name) => {
        const file = name === null ? undefined : join(folder, name);
        if (!file || !(files.has(file) || rules.some((rule) => rule(file)))) return;
        clearTimeout(pending.get(file));
        pending.set(file, setTimeout(look, settle, file));
      });
      watcher.on("error", () => watchers.delete(folder));
      watchers.set(folder, watcher);
    } catch {
      // There is no such folder: the import that names it fails, and says so.
    }
  };
  const remember = (file: string): void => {
    const version = versionOf(file);
    if (version !== undefined && !known.has(file)) known.set(file, version);
  };
  return {
    add(more) {
      for (const file of more) {
        if (files.has(file)) continue;
        files.add(file);
        remember(file);
        watchFolder(dirname(file));
      }
    },
    addNames(folder, fits) {
      rules.push((file) => dirname(file) === folder && fits(basename(file)));
      watchFolder(folder);
    },
    close() {
      for (const timer of pending.values()) clearTimeout(timer);
      for (const watcher of watchers.values()) watcher.close();
    },
  };
}

function versionOf(file: string): string | undefined {
  const stats: Stats | undefined = statSync(file, { throwIfNoEntry: false });
  return stats && `${stats.ino} ${stats.mtimeMs} ${stats.size}`;
}
