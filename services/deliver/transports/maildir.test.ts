import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, rename, rm, stat, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { after, beforeEach, test } from "node:test";
import { targetsFor } from "@millrace/mail";
import { maildirTransport } from "./maildir.ts";
import { requestFor } from "./testing/request.ts";

const root = await mkdtemp(join(tmpdir(), "millrace-maildir-"));
after(() => rm(root, { recursive: true }));
let count = 0;
let maildir = "";
beforeEach(() => {
  maildir = join(root, `deep/er/${count++}`);
});
const transport = maildirTransport();

async function files(folder: string): Promise<string[]> {
  return (await readdir(join(maildir, folder))).sort();
}

test("maildir: a message is in new, its octets as they came behind our two lines", async () => {
  const raw = Buffer.from("Subject: caf\u00e9\r\n\r\n.\r\n\xff no end", "latin1");
  const request = requestFor({ raw, target: { maildir } });
  const outcomes = await transport.deliver(request);
  const [name = ""] = await files("new");
  assert.deepEqual(outcomes, [
    { recipient: "to@example.com", result: "delivered", reply: `written as ${name}` },
  ]);
  const expected = Buffer.concat([
    Buffer.from("Return-Path: <from@example.com>\r\nDelivered-To: to@example.com\r\n"),
    raw,
  ]);
  assert.ok((await readFile(join(maildir, "new", name))).equals(expected));
  assert.match(
    name,
    new RegExp(`^\\d{10}\\.M${request.message}R[0-9a-f]{16}\\.millrace,S=${expected.length}$`),
  );
  assert.deepEqual([await files("tmp"), await files("cur")], [[], []]);
  assert.equal((await stat(join(maildir, "new", name))).mode & 0o077, 0);
});

test("maildir: a large message is streamed and arrives whole", async () => {
  const raw = Buffer.alloc(1_000_000, "0123456789\r\n");
  const request = requestFor({ raw, target: { maildir }, envelope: { from: "" } });
  request.read = () => Promise.reject(new Error("was read in one piece"));
  await transport.deliver(request);
  const [name = ""] = await files("new");
  const heading = "Return-Path: <>\r\nDelivered-To: to@example.com\r\n";
  const written = await readFile(join(maildir, "new", name));
  assert.equal(written.subarray(0, heading.length).toString(), heading);
  assert.ok(written.subarray(heading.length).equals(raw));
  assert.ok(name.endsWith(`,S=${written.length}`));
});

test("maildir: delivered again, by whomever, it stays one file", async () => {
  const request = requestFor({ target: { maildir } });
  await transport.deliver(request);
  const [again] = await transport.deliver(request);
  assert.equal(again?.result, "delivered");
  await maildirTransport().deliver({ ...request, attempt: 2 });
  await Promise.all(Array.from({ length: 8 }, () => maildirTransport().deliver(request)));
  assert.equal((await files("new")).length, 1);
  assert.deepEqual(await files("tmp"), []);
});

test("maildir: delivered again after a reader took it to cur, it does not come back", async () => {
  const request = requestFor({ target: { maildir } });
  await transport.deliver(request);
  const [name = ""] = await files("new");
  for (const flagged of [`${name}:2,S`, `${name.replace(/,S=.*/, "")}:2,RS`]) {
    await rename(
      join(maildir, (await files("new")).length ? "new" : "cur", (await files("new"))[0] ?? `${name}:2,S`),
      join(maildir, "cur", flagged),
    );
    const [again] = await transport.deliver(request);
    assert.equal(again?.result, "delivered");
    assert.deepEqual([await files("new"), await files("cur")], [[], [flagged]]);
  }
});

test("maildir: cur is not read when nothing was moved there since the message came", async () => {
  const request = requestFor({ target: { maildir } });
  await transport.deliver(request);
  const [name = ""] = await files("new");
  await rename(join(maildir, "new", name), join(maildir, "cur", `${name}:2,S`));
  // A folder that claims to be untouched for an hour: the only way to see from outside that it was not looked into.
  const before = new Date(Date.now() - 3_600_000);
  await utimes(join(maildir, "cur"), before, before);
  await transport.deliver(request);
  assert.equal((await files("new")).length, 1);
});

test("maildir: two recipients in one folder have a file each", async () => {
  const recipients = ["a@example.com", "b@example.com"];
  const outcomes = await transport.deliver(requestFor({ recipients, target: { maildir } }));
  assert.deepEqual(
    outcomes.map(({ recipient, result }) => [recipient, result]),
    [
      ["a@example.com", "delivered"],
      ["b@example.com", "delivered"],
    ],
  );
  assert.equal((await files("new")).length, 2);
});

test("maildir: many messages into many folders at once, each folder with its own", async () => {
  const folders = Array.from({ length: 20 }, (_, at) => join(maildir, String(at)));
  await Promise.all(
    Array.from({ length: 200 }, (_, at) =>
      transport.deliver(requestFor({ target: { maildir: folders[at % 20] as string } })),
    ),
  );
  for (const folder of folders) assert.equal((await readdir(join(folder, "new"))).length, 10);
});

test("maildir: a hostile recipient names one plain folder and forges no header", async () => {
  const hostile = [
    "../../etc@x.test",
    "a/../../b@x.test",
    "CON@x.test",
    "nul\0byte@x.test",
    "a\r\nX-Forged: yes@x.test",
    "\u2028x@x.test",
  ];
  for (const recipient of hostile) {
    const { targets } = targetsFor(
      [{ recipients: ["*"], to: [{ maildir: `${maildir}/{recipient}` }] }],
      [recipient],
    );
    const [target] = targets;
    assert.ok(target);
    const request = requestFor({
      recipients: [recipient],
      target: target.config,
      envelope: { from: recipient },
    });
    const [outcome] = await transport.deliver(request);
    assert.equal(outcome?.result, "delivered");
  }
  const folders = await readdir(maildir);
  assert.equal(folders.length, hostile.length);
  for (const folder of folders) {
    const [name = ""] = await readdir(join(maildir, folder, "new"));
    const lines = (await readFile(join(maildir, folder, "new", name), "utf8")).split(/\r\n|[\r\n\u2028]/);
    assert.deepEqual(lines.map((line) => line.split(":")[0]).slice(0, 4), [
      "Return-Path",
      "Delivered-To",
      "From",
      "Subject",
    ]);
  }
});

test("maildir: a folder that is removed meanwhile is made again", async () => {
  await transport.deliver(requestFor({ target: { maildir } }));
  await rm(maildir, { recursive: true });
  const [outcome] = await transport.deliver(requestFor({ target: { maildir } }));
  assert.equal(outcome?.result, "delivered");
  assert.equal((await files("new")).length, 1);
});

test("maildir: trouble with the disk is thrown, counts as temporary, and leaves nothing behind", async () => {
  await mkdir(join(root, "deep/er"), { recursive: true });
  await writeFile(maildir, "a file where the folder should be");
  const request = requestFor({ target: { maildir } });
  await assert.rejects(transport.deliver(request), { code: "EEXIST" });
  await rm(maildir);
  // Mended, the same transport goes on.
  assert.equal((await transport.deliver(request))[0]?.result, "delivered");

  await rm(join(maildir, "new"), { recursive: true });
  await writeFile(join(maildir, "new"), "");
  await assert.rejects(transport.deliver(requestFor({ target: { maildir } })), { code: "ENOTDIR" });
});

test("maildir: a full disk is thrown, and no half file stays", async (t) => {
  await mkdir(maildir, { recursive: true });
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", maildir], { stdio: "ignore" });
  } catch {
    return t.skip("needs the right to mount a small file system");
  }
  t.after(() => execFileSync("umount", [maildir]));
  const request = requestFor({ raw: Buffer.alloc(100_000, "x\r\n"), target: { maildir } });
  await assert.rejects(transport.deliver(request), { code: "ENOSPC" });
  assert.deepEqual([await files("tmp"), await files("new")], [[], []]);
  assert.equal((await transport.deliver(requestFor({ target: { maildir } })))[0]?.result, "delivered");
});

test("maildir: a message that cannot be read to its end is not delivered", async () => {
  const request = requestFor({ target: { maildir }, size: 1e9 });
  request.raw = async () =>
    Readable.from(
      (function* () {
        yield Buffer.from("half");
        throw new Error("EIO");
      })(),
    );
  await assert.rejects(transport.deliver(request), /EIO/);
  assert.deepEqual([await files("tmp"), await files("new")], [[], []]);
});

test("maildir: an aborted attempt delivers nothing", async () => {
  const request = requestFor({ target: { maildir }, signal: AbortSignal.abort() });
  await assert.rejects(transport.deliver(request), { name: "AbortError" });
});
