import { Redis } from "ioredis";

type Commit = (...args: unknown[]) => Promise<number>;

/** Puts something else in the place of the script by which an edge commits a message. */
export function replaceSpoolCommit(replacement: (commit: Commit, args: unknown[]) => Promise<number>): void {
  const define = Redis.prototype.defineCommand;
  Redis.prototype.defineCommand = function (name, definition) {
    define.call(this, name, definition);
    if (name !== "spoolCommit") return;
    const scripted = this as unknown as { spoolCommit: Commit };
    const commit = scripted.spoolCommit.bind(this);
    scripted.spoolCommit = (...args) => replacement(commit, args);
  };
}
