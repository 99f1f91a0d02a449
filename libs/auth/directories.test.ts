import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { after, before, test } from "node:test";
import { createLogger, failFastRedis, StartError } from "@millrace/service";
import { startRedis, type TestRedis } from "@millrace/test/redis";
import { Webhook } from "standardwebhooks";
import { hashPassword, maySendFrom, openDirectory, redisUsers, userNameSchema } from "./index.ts";

let server: TestRedis;
let redis: ReturnType<typeof failFastRedis>;
const log = createLogger("test", "silent");
const client = "192.0.2.1";
before(async () => {
  server = await startRedis();
  redis = failFastRedis(server.url);
  await once(redis, "ready");
});
after(async () => {
  redis?.disconnect();
  await server?.stop();
});

test("Redis: a user is added once, verified by the password alone, changed, and gone when removed", async () => {
  const users = redisUsers(redis);
  const ann = { name: "ann", reversePaths: ["*@example.com"] };
  assert.equal(await users.add(ann, "first"), true);
  assert.equal(await users.add({ name: "ann", reversePaths: [] }, "other"), false);
  assert.deepEqual(await users.verify({ name: "ANN", password: "first", client }), ann);
  for (const [name, password] of [
    ["ann", "other"],
    ["ann", ""],
    ["bob", "first"],
    ["", "first"],
    ["a b", "first"],
  ] as const)
    assert.equal(await users.verify({ name, password, client }), undefined, name);
  assert.equal(await users.setPassword("ann", "second"), true);
  assert.equal(await users.verify({ name: "ann", password: "first", client }), undefined);
  assert.deepEqual(await users.verify({ name: "ann", password: "second", client }), ann);
  assert.equal(await users.setReversePaths("ann", ["ann@example.com"]), true);
  assert.deepEqual(await users.verify({ name: "ann", password: "second", client }), {
    name: "ann",
    reversePaths: ["ann@example.com"],
  });
  const [listed, ...others] = await users.list();
  assert.deepEqual(others, []);
  assert.deepEqual(Object.keys(listed ?? {}).sort(), ["createdAt", "name", "passwordAt", "reversePaths"]);
  assert.doesNotMatch((await redis.hget("millrace:users", "ann")) ?? "", /second/);
  assert.equal(await users.remove("ann"), true);
  assert.equal(await users.remove("ann"), false);
  assert.equal(await users.setPassword("ann", "third"), false);
  assert.equal(await users.setReversePaths("ann", []), false);
  assert.equal(await users.verify({ name: "ann", password: "second", client }), undefined);
});

test("a name that nobody has takes as long as a wrong password, in Redis as in a file", async () => {
  const folder = mkdtempSync(join(tmpdir(), "millrace-users-"));
  const file = join(folder, "users");
  // Four times the work of our own hashes.
  writeFileSync(
    file,
    "ann:$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc\n",
  );
  await redisUsers(redis).add({ name: "ann", reversePaths: [] }, "one");
  for (const auth of [undefined, { file }]) {
    const users = await openDirectory(auth, redis, log);
    const times: Record<string, number[]> = { ann: [], nobody: [], "no name": [] };
    for (let i = 0; i < 9; i++) {
      for (const [name, taken] of Object.entries(times)) {
        const startedAt = performance.now();
        assert.equal(await users.verify({ name, password: "wrong", client }), undefined);
        taken.push(performance.now() - startedAt);
      }
    }
    const [known, ...unknown] = Object.values(times).map((each) => each.sort((a, b) => a - b)[4] as number);
    // Without the work it would be a hundredth; the machine may be busy with something else.
    for (const each of unknown) assert.ok(each > (known as number) / 3, JSON.stringify(times));
  }
  await redisUsers(redis).remove("ann");
  rmSync(folder, { recursive: true });
});

test("Redis: a record of a later version is not guessed at", async () => {
  await redis.hset("millrace:users", "eve", JSON.stringify({ v: 2, name: "eve" }));
  await assert.rejects(redisUsers(redis).verify({ name: "eve", password: "x", client }));
  await redis.hdel("millrace:users", "eve");
});

test("file: users with their reverse-paths; a change is read, a broken one is not, and none without the file", async () => {
  const folder = mkdtempSync(join(tmpdir(), "millrace-users-"));
  const file = join(folder, "users");
  const [one, two] = await Promise.all([hashPassword("one"), hashPassword("two")]);
  writeFileSync(file, `# staff\n\nAnn:${one}\r\nbob:${two}:*@example.com,<>\n`);
  const users = await openDirectory({ file }, redis, log);
  const ann = { name: "ann", reversePaths: [] };
  assert.deepEqual(await users.verify({ name: "ann", password: "one", client }), ann);
  assert.deepEqual(await users.verify({ name: "bob", password: "two", client }), {
    name: "bob",
    reversePaths: ["*@example.com", "<>"],
  });
  assert.equal(await users.verify({ name: "bob", password: "one", client }), undefined);
  assert.equal(await users.verify({ name: "eve", password: "one", client }), undefined);

  const replace = (content: string) => {
    writeFileSync(`${file}.new`, content);
    renameSync(`${file}.new`, file);
  };
  replace(`ann:${two}\n`);
  assert.equal(await users.verify({ name: "ann", password: "one", client }), undefined);
  assert.deepEqual(await users.verify({ name: "ann", password: "two", client }), ann);
  replace("ann:plain\n");
  assert.deepEqual(await users.verify({ name: "ann", password: "two", client }), ann);
  rmSync(file);
  await assert.rejects(users.verify({ name: "ann", password: "two", client }), /ENOENT/);
  rmSync(folder, { recursive: true });
});

test("file: what cannot be used is refused at the start, with its line and without the hash", async () => {
  const folder = mkdtempSync(join(tmpdir(), "millrace-users-"));
  const file = join(folder, "users");
  const hash = await hashPassword("x");
  const cases = {
    "ann:secret-words": /line 1: the hash of ann cannot be used/,
    [`ann:${hash}\nAnn:${hash}`]: /line 2: ann is there twice/,
    [`a b:${hash}`]: /line 1: a user's name/,
    [`ann:${hash}:a@b:c`]: /line 1: there is more/,
    [`ann:${hash}:a b@c`]: /line 1: a b@c: a reverse-path/,
  };
  for (const [content, expected] of Object.entries(cases)) {
    writeFileSync(file, content);
    await assert.rejects(openDirectory({ file }, redis, log), (error) => {
      assert.ok(error instanceof StartError);
      assert.match(error.message, expected);
      assert.doesNotMatch(error.message, /secret-words|\$m=19456/);
      return true;
    });
  }
  rmSync(folder, { recursive: true });
});

test("HTTP: the question is signed, yes and no are understood, and anything else is no answer", async (t) => {
  const answers: [status: number, body: string][] = [];
  const asked: { body: string; headers: Record<string, string> }[] = [];
  const http = createServer(async (request, response) => {
    asked.push({ body: await text(request), headers: request.headers as Record<string, string> });
    const [status, body] = answers.shift() ?? [500, ""];
    response.writeHead(status).end(body);
  }).listen(0, "127.0.0.1");
  await once(http, "listening");
  t.after(() => http.close());
  const secret = `whsec_${Buffer.from("a secret of some length, 32 oct.").toString("base64")}`;
  const url = `http://127.0.0.1:${(http.address() as AddressInfo).port}/check`;
  const users = await openDirectory({ http: url, secret, allowPrivate: true }, redis, log);
  t.after(() => users.close());
  const verify = (...answer: [number, string]) => {
    answers.push(answer);
    return users.verify({ name: "Ann", password: "one", client });
  };
  assert.deepEqual(await verify(200, '{"ok":true}'), { name: "ann", reversePaths: [] });
  const { body, headers } = asked[0] ?? { body: "", headers: {} };
  assert.deepEqual(new Webhook(secret).verify(body, headers), { name: "Ann", password: "one", client });
  assert.deepEqual(await verify(200, '{"ok":true,"user":"team-1","reversePaths":["*@a.example"]}'), {
    name: "team-1",
    reversePaths: ["*@a.example"],
  });
  assert.equal(await verify(200, '{"ok":false}'), undefined);
  assert.equal(await verify(401, "no"), undefined);
  assert.equal(await verify(403, ""), undefined);
  for (const answer of [
    [200, ""],
    [200, "true"],
    [200, '{"ok":"true"}'],
    [201, '{"ok":true}'],
    [302, ""],
    [404, '{"ok":true}'],
    [500, '{"ok":true}'],
  ] as [number, string][])
    await assert.rejects(verify(...answer), /auth\.http answered/);
  http.closeAllConnections();
});

test("reverse-paths are patterns of whole addresses; the null one has to be allowed by name", () => {
  const may = (reversePaths: string[], path: string) => maySendFrom({ name: "ann", reversePaths }, path);
  assert.equal(may([], "anybody@example.org"), true);
  assert.equal(may([], ""), true);
  assert.equal(may(["*@example.com"], "ann@EXAMPLE.com"), true);
  assert.equal(may(["*@example.com"], "ann@example.com.evil.example"), false);
  assert.equal(may(["*@example.com"], "ann@example.org"), false);
  assert.equal(may(["*@example.com"], ""), false);
  assert.equal(may(["*@example.com", "<>"], ""), true);
});

test("names are one for upper and lower case, and none can be taken for something else", () => {
  assert.equal(userNameSchema.parse("Ann@Example.com"), "ann@example.com");
  for (const name of ["", "a b", "a:b", "a\nb", "a\0", "x".repeat(255), "a\u200bb"])
    assert.equal(userNameSchema.safeParse(name).success, false, JSON.stringify(name));
});
