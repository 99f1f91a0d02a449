import fs from "node:fs";
import { open } from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { inService } from "./in-service.ts";

// A service that takes the page cache for the disk: every fsync of a file or a folder says it was done.
if (inService(import.meta.url)) {
  const done = (_file: number, callback: (error: null) => void) => setImmediate(callback, null);
  Object.assign(fs, { fsync: done, fdatasync: done, fsyncSync() {}, fdatasyncSync() {} });
  syncBuiltinESMExports();
  const file = await open(process.execPath);
  Object.assign(Object.getPrototypeOf(file), { async sync() {}, async datasync() {} });
  await file.close();
}
