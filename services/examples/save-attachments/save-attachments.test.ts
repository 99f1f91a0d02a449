import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { Readable } from "node:stream";
import { after, before, describe, test } from "node:test";
import {
  CreateBucketCommand,
  GetObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  S3Client,
} from "@aws-sdk/client-s3";
import { until } from "@millrace/test/until";
import { Running } from "../testing/running.ts";
import { type S3Server, startS3Server } from "../testing/s3-server.ts";
import { folderStore } from "./folder-store.ts";
import { s3Store } from "./s3-store.ts";

const never = new AbortController().signal;
/** More than goes up in one part. */
const large = randomBytes(7 * 1_024 * 1_024);

function mail(to: string, files: { type: string; name: string; content: Buffer }[]): Buffer {
  const boundary = "=_mill";
  const parts = files.map(({ type, name, content }) =>
    [
      `Content-Type: ${type}; name="${name}"`,
      "Content-Transfer-Encoding: base64",
      `Content-Disposition: attachment; filename="${name}"`,
      "",
      content.toString("base64").replace(/.{76}/g, "$&\r\n"),
    ].join("\r\n"),
  );
  const head = [
    "From: ann@example.test",
    `To: ${to}`,
    "Subject: Files",
    "MIME-Version: 1.0",
    `Content-Type: multipart/mixed; boundary="${boundary}"`,
  ].join("\r\n");
  const body = ["Content-Type: text/plain\r\n\r\nSee the files.", ...parts];
  return Buffer.from(
    `${head}\r\n\r\n--${boundary}\r\n${body.join(`\r\n--${boundary}\r\n`)}\r\n--${boundary}--\r\n`,
  );
}

const files = [
  { type: "application/pdf", name: "../invoice.pdf", content: Buffer.from("%PDF-1.4 one") },
  { type: "application/pdf", name: "../invoice.pdf", content: Buffer.from("%PDF-1.4 two") },
  { type: "image/png", name: "logo.png", content: randomBytes(1_000) },
];

describe("save-attachments, to a folder", () => {
  const running = new Running({
    workers: { "save-attachments": { types: ["application/pdf"], to: "saved" } },
  });
  before(() => running.start("save-attachments/save-attachments.ts"));
  after(() => running.stop());
  const saved = () => readdirSync(join(running.millrace.folder, "saved")).sort();

  test("each attachment of the wanted type is a file, and running it once more changes nothing", async () => {
    const id = await running.send({ to: ["bob@example.test"], raw: mail("bob@example.test", files) });
    const names = [`${id}-0-invoice.pdf`, `${id}-1-invoice.pdf`];
    await until(() => running.logged().includes('"saved"'));
    assert.deepEqual(saved(), names);
    const contents = () =>
      names.map((name) => readFileSync(join(running.millrace.folder, "saved", name), "utf8"));
    assert.deepEqual(contents(), ["%PDF-1.4 one", "%PDF-1.4 two"]);

    const replayed = await running.millrace.run(["replay", id, "--worker", "save-attachments", "--yes"]);
    assert.equal(replayed.status, 0, replayed.stderr);
    await until(() => (running.logged().match(/"saved"/g) ?? []).length === 2);
    assert.deepEqual([saved(), contents()], [names, ["%PDF-1.4 one", "%PDF-1.4 two"]]);
    const trace = await running.millrace.json<{ steps: { event: string; data: { files?: unknown[] } }[] }>(
      "trace",
      id,
    );
    const found = trace.steps.filter(({ event }) => event === "attachments.saved");
    assert.deepEqual(
      found.map(({ data }) => data.files?.length),
      [2, 2],
    );
  });
});

test("a folder shows no file before it is whole, and a broken one leaves nothing behind", async () => {
  const running = new Running({});
  try {
    const folder = join(running.millrace.folder, "new/one");
    const store = await folderStore(folder);
    const broken = Readable.from(
      (async function* () {
        yield Buffer.from("half");
        assert.equal(readdirSync(folder).filter((name) => !name.startsWith(".")).length, 0);
        throw new Error("the message cannot be read");
      })(),
    );
    await assert.rejects(store.save("a", "x/y", broken, never), /cannot be read/);
    assert.deepEqual(readdirSync(folder), []);
    await store.save("a", "x/y", Readable.from([Buffer.from("whole")]), never);
    await store.save("a", "x/y", Readable.from([Buffer.from("another")]), never);
    assert.equal(readFileSync(join(folder, "a"), "utf8"), "whole");
  } finally {
    await running.stop();
  }
});

describe("save-attachments, to S3", () => {
  let s3: S3Server;
  let client: S3Client;
  let running: Running;
  before(async () => {
    s3 = await startS3Server();
    const credentials = { accessKeyId: "key", secretAccessKey: "secret" };
    client = new S3Client({
      endpoint: s3.endpoint,
      region: "eu-central-1",
      forcePathStyle: true,
      credentials,
    });
    await client.send(new CreateBucketCommand({ Bucket: "mill" }));
    running = new Running({
      workers: {
        "save-attachments": {
          ...{ types: ["*/*"], to: "s3://mill/in/", endpoint: s3.endpoint },
          ...{ region: "eu-central-1", accessKey: "key", secret: "secret" },
        },
      },
    });
    await running.start("save-attachments/save-attachments.ts");
  });
  after(async () => {
    await running?.stop();
    client?.destroy();
    await s3?.stop();
  });
  const objects = async () =>
    (await client.send(new ListObjectsV2Command({ Bucket: "mill" }))).Contents ?? [];

  test("attachments are objects, and running it once more writes none of them again", async () => {
    const id = await running.send({ to: ["bob@example.test"], raw: mail("bob@example.test", files) });
    await until(() => running.logged().includes('"saved"'));
    const names = ["0-invoice.pdf", "1-invoice.pdf", "2-logo.png"].map((name) => `in/${id}-${name}`);
    assert.deepEqual((await objects()).map(({ Key }) => Key).sort(), names);
    for (const [index, Key] of names.entries()) {
      const { Body, ContentType } = await client.send(new GetObjectCommand({ Bucket: "mill", Key }));
      assert.ok(
        Buffer.from((await Body?.transformToByteArray()) ?? []).equals(files[index]?.content as Buffer),
      );
      assert.equal(ContentType, files[index]?.type);
    }
    const before = (await objects()).map(({ LastModified }) => LastModified);
    await running.millrace.run(["replay", id, "--worker", "save-attachments", "--yes"]);
    await until(() => (running.logged().match(/"saved"/g) ?? []).length === 2);
    assert.deepEqual(
      (await objects()).map(({ LastModified }) => LastModified),
      before,
      "nothing was written again",
    );
  });

  const direct = () => {
    const credentials = { accessKey: "key", secret: "secret" };
    return s3Store({
      bucket: "mill",
      prefix: "",
      region: "us-east-1",
      endpoint: s3.endpoint,
      ...credentials,
    });
  };

  test("a large attachment goes up in parts and is one object", async () => {
    const pieces = Array.from({ length: 112 }, (_, i) => large.subarray(i * 65_536, (i + 1) * 65_536));
    assert.equal(await direct().save("large", "x/y", Readable.from(pieces), never), "s3://mill/large");
    const { Body, ETag } = await client.send(new GetObjectCommand({ Bucket: "mill", Key: "large" }));
    assert.ok(Buffer.from((await Body?.transformToByteArray()) ?? []).equals(large));
    assert.match(ETag ?? "", /-2"$/, "of two parts");
  });

  test("an attachment that breaks off is no object", async () => {
    const broken = Readable.from(
      (async function* () {
        yield large.subarray(0, 6_000_000);
        throw new Error("the message cannot be read");
      })(),
    );
    await assert.rejects(direct().save("broken", "x/y", broken, never), /cannot be read/);
    assert.ok(!(await objects()).some(({ Key }) => Key === "broken"));
    const { Uploads } = await client.send(new ListMultipartUploadsCommand({ Bucket: "mill" }));
    assert.deepEqual(Uploads ?? [], []);
  });
});

describe("an S3 server that is down", () => {
  let refusing: Server;
  const running = new Running({});
  before(async () => {
    refusing = createServer((_request, response) => response.writeHead(503).end());
    await once(refusing.listen(0, "127.0.0.1"), "listening");
  });
  after(async () => {
    refusing.closeAllConnections();
    refusing.close();
    await running.stop();
  });

  test("is an error to be tried again", async () => {
    const { port } = refusing.address() as AddressInfo;
    const store = s3Store({
      ...{ bucket: "mill", prefix: "", region: "us-east-1" },
      ...{ endpoint: `http://127.0.0.1:${port}`, accessKey: "key", secret: "secret" },
    });
    await assert.rejects(store.save("a", "x/y", Readable.from([Buffer.from("a")]), never), {
      name: /^(?!Permanent)/,
    });
  });
});
