import assert from "node:assert/strict";
import { once } from "node:events";
import type { AddressInfo, Socket } from "node:net";
import { test } from "node:test";
import { SMTPServer } from "smtp-server";
import { until } from "../support/until.ts";
import { Load } from "./load.ts";
import { seeded } from "./random.ts";

test("what is acknowledged after the cut reaches no sender: it is unknown, and no promise", async () => {
  const answers: (() => void)[] = [];
  const server = new SMTPServer({
    disabledCommands: ["AUTH", "STARTTLS"],
    disableReverseLookup: true,
    logger: false,
    onData(stream, _session, done) {
      stream.resume().once("end", () => answers.push(() => done(null, `Ok: queued as ${"0".repeat(26)}`)));
    },
  });
  server.on("error", () => {});
  const sockets: Socket[] = [];
  server.server.on("connection", (socket) => sockets.push(socket));
  server.listen(0, "127.0.0.1");
  await once(server.server, "listening");
  const { port } = server.server.address() as AddressInfo;
  const load = new Load({ name: "cut", port, random: seeded("cut"), senders: 1 });

  await until(() => answers.length === 1);
  answers.shift()?.();
  await until(() => answers.length === 1);
  assert.equal(load.acknowledged, 1);

  load.cutWire();
  const [socket] = sockets as [Socket];
  const before = socket.bytesWritten;
  answers.shift()?.();
  await until(() => socket.bytesWritten > before);
  server.server.close();
  socket.destroy();
  await once(socket, "close");
  // The sender has had a turn to hear what it must not.
  await new Promise((resolve) => setTimeout(resolve, 50));
  load.mendWire();
  const fates = (await load.end()).map(({ fate }) => fate.state);
  assert.deepEqual(fates, ["acknowledged", "unknown"]);
});
