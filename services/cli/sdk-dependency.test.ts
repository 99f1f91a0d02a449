import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { sdkDependency, sdkName } from "./sdk-dependency.ts";

let user: string;
let sdk: string;
beforeEach(() => {
  user = mkdtempSync(join(tmpdir(), "millrace-user-"));
  sdk = join(user, "node_modules", sdkName);
  mkdirSync(sdk, { recursive: true });
  writeFileSync(join(sdk, "package.json"), JSON.stringify({ name: sdkName, version: "4.5.6" }));
});
afterEach(() => rmSync(user, { recursive: true }));

/** As npm writes it. */
function record(resolved: string): void {
  const packages = { [`node_modules/${sdkName}`]: { version: "4.5.6", resolved } };
  writeFileSync(join(user, "node_modules/.package-lock.json"), JSON.stringify({ packages }));
}

test("in a workspace it is a tarball, packed when there is none or a source is newer", async () => {
  const spec = await sdkDependency(user);
  assert.match(spec, /^file:\.\.\/.*\/dist\/millrace-pipeline-\d+\.\d+\.\d+\.tgz$/);
  assert.ok(existsSync(resolve(user, spec.slice("file:".length))));
});

test("in an installation it is the tarball that npm installed, as seen from the new folder", async () => {
  record("file:sdk.tgz");
  writeFileSync(join(user, "sdk.tgz"), "");
  assert.equal(await sdkDependency(join(user, "workers/invoices"), sdk), "file:../../sdk.tgz");
});

test("a tarball that is gone is named", async () => {
  record("file:../gone.tgz");
  await assert.rejects(
    sdkDependency(user, sdk),
    /gone\.tgz, which Millrace was installed from .* is gone: put it back/,
  );
});

test("from a registry, or with another package manager, it is the version", async () => {
  assert.equal(await sdkDependency(user, sdk), "4.5.6");
  record("https://registry.npmjs.org/@millrace/pipeline/-/pipeline-4.5.6.tgz");
  assert.equal(await sdkDependency(user, sdk), "4.5.6");
});
