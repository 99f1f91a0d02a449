import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, statSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";
import { noCaddy } from "../support/caddy.ts";
import { until } from "../support/until.ts";
import { cannotRead, dockerFolder, readCompose, workspace } from "./compose-model.ts";
import { DockerCommand, documented } from "./docker-command.ts";
import { type Container, Engine } from "./engine.ts";
import { Build, type Image, nodeImage } from "./image.ts";
import type { Place } from "./networks.ts";
import { caddyImage } from "./official-images.ts";
import { Project } from "./project.ts";

const run = promisify(execFile);
const notRoot = process.getuid?.() === 0 ? undefined : "needs root, for mounts and network namespaces";

/** compose.yaml and the Dockerfile, carried out without an engine: see Engine. */
describe("docker/compose.yaml, with three edges behind HAProxy", { skip: notRoot ?? cannotRead }, () => {
  const folder = mkdtempSync(join(tmpdir(), "millrace-compose-"));
  const layers = mkdtempSync("/dev/shm/millrace-compose-");
  const images = new Map<string, Image>();
  let engine: Engine;
  let project: Project;
  let docker: DockerCommand;
  let client: Place;

  before(
    async () => {
      const model = readCompose();
      const base = nodeImage(layers);
      const build = new Build({
        dockerfile: join(dockerFolder, "Dockerfile"),
        context: workspace,
        folder: layers,
        base: (name) => {
          if (name.startsWith("caddy:")) return caddyImage(name, layers);
          assert.match(name, /^node:/);
          return base;
        },
      });
      for (const [name, { build: how }] of Object.entries(model.services))
        if (how && (name !== "caddy" || !noCaddy)) images.set(name, await build.image(how));
      engine = new Engine(model, { built: (name) => images.get(name) as Image, layers, folder });
      project = new Project(model, engine);
      docker = new DockerCommand(project, { folder, layers });
      await docker.script("docker compose up -d --build");
      client = await engine.client("outside");
      // Who is healthy lives, and is not ready yet.
      await allInUse();
    },
    { timeout: 240_000 },
  );
  after(async () => {
    await engine?.remove();
    for (const each of [folder, layers]) await rm(each, { recursive: true, force: true });
  });

  const running = (service: string) => project.containersOf(service).flatMap((each) => each.running ?? []);
  const one = (service: string) => running(service)[0] as Container;
  const edges = () => running("edge");

  /** `docker compose run --rm cli …` */
  async function cli(...words: string[]): Promise<{ stdout: string; status: number; stderr: string }> {
    return engine.runOnce("cli", words);
  }

  /** Sends a message with swaks from outside; its id. */
  async function sent(proxy: Container, port: number, to: string, ...tls: string[]): Promise<string> {
    const [program, ...enter] = client.enter;
    const server = ["--server", `${proxy.address("outside")}:${port}`, ...tls];
    const words = [...enter, "swaks", ...server, "--from", "b@example.net", "--to", to];
    const { stdout } = await run(program, words);
    const id = /queued as (\S+)/.exec(stdout)?.[1];
    assert.ok(id, stdout);
    return id;
  }

  async function delivered(id: string): Promise<string> {
    let shown = "";
    await until(async () => {
      shown = (await cli("trace", id)).stdout;
      return /delivery\.succeeded/.test(shown);
    });
    return shown;
  }

  /** HAProxy's figures of its servers, by the name of a column. */
  async function servers(backend: string): Promise<Record<string, string>[]> {
    const ask = "echo show stat | socat - UNIX-CONNECT:/run/haproxy/haproxy.sock";
    const there = ["--target", String(one("haproxy").pid), "--net", "--mount", "--root"];
    const { stdout } = await run("nsenter", [...there, "sh", "-c", ask]);
    const [head = "", ...lines] = stdout.slice(stdout.indexOf("# ") + 2).split("\n");
    const columns = head.split(",");
    return lines
      .map((line) => Object.fromEntries(line.split(",").map((value, i) => [columns[i], value])))
      .filter(({ pxname, type }) => pxname === backend && type === "2");
  }

  /** Waits until HAProxy sends sessions to the edges that run, and to no other address; each port has checks of its own. */
  async function allInUse(): Promise<void> {
    const wanted = edges().map((each) => `${each.address("proxied")} UP`);
    for (const backend of ["edges", "starttls_edges"])
      await until(async () => {
        const seen = (await servers(backend)).map(({ addr, status }) => `${addr?.split(":")[0]} ${status}`);
        return (
          seen
            .filter((each) => each.endsWith(" UP"))
            .sort()
            .join() === wanted.sort().join()
        );
      });
  }

  /** Mail comes in through both of a proxy's ports, and is delivered; the client's address is known. */
  async function bringsMail(proxy: Container): Promise<void> {
    const from = client.addresses.get("outside") as string;
    for (const [port, ...tls] of [
      [2465, "--tls-on-connect"],
      [2587, "--tls"],
    ] as const) {
      const to = `${proxy.name}-${port}@example.com`;
      const id = await sent(proxy, port, to, ...tls);
      assert.match(await delivered(id), new RegExp(`from ${from.replaceAll(".", "\\.")}\\b`));
      assert.equal(readdirSync(join(folder, `volumes/mail/maildir/${to}/new`)).length, 1);
    }
  }

  /** Sessions that are held open through a proxy until they are let go. */
  async function held(proxy: Container, count: number): Promise<() => void> {
    const ask = `exec 3<>/dev/tcp/${proxy.address("outside")}/2587; read -r line <&3; echo "$line"; exec sleep 600`;
    const [program, ...enter] = client.enter;
    const children = Array.from({ length: count }, () => spawn(program, [...enter, "bash", "-c", ask]));
    let greeted = 0;
    for (const { stdout } of children)
      stdout.on("data", (text: Buffer) => {
        greeted += text.toString().startsWith("220 ") ? 1 : 0;
      });
    await until(() => greeted === count);
    return () => {
      for (const child of children) child.kill("SIGKILL");
    };
  }

  test("the images have what they run, and no tests and no keys", () => {
    const files = (images.get("edge") as Image).layers
      .slice(1)
      .flatMap((layer) => readdirSync(layer, { recursive: true, encoding: "utf8" }))
      .filter((file) => !file.includes("node_modules"));
    assert.ok(files.includes("app/services/edge/main.ts"));
    assert.ok(files.length > 300, `${files.length} files`);
    const unwanted = /\.test\.ts$|\.pem$|\.key$|(^|\/)(testing|golden|\.git|\.env)(\/|$)/;
    assert.deepEqual(
      files.filter((file) => unwanted.test(file)),
      [],
    );
  });

  test("the certificate is made once, and for nobody but the group that reads it", async () => {
    const volume = join(folder, "volumes/certificates");
    const names = ["fullchain.pem", "haproxy.pem", "privkey.pem"];
    assert.deepEqual(readdirSync(volume).sort(), names);
    for (const name of names) {
      const { mode, gid } = statSync(join(volume, name));
      assert.equal(`${name} ${(mode & 0o777).toString(8)} ${gid}`, `${name} 640 2525`);
    }
    const before = readFileSync(join(volume, "fullchain.pem"), "utf8");
    assert.equal((await engine.runOnce("certificate")).status, 0);
    assert.equal(readFileSync(join(volume, "fullchain.pem"), "utf8"), before);
  });

  test("mail comes in through both ports, and `cli trace` tells the client's address", async () => {
    await bringsMail(one("haproxy"));
  });

  test("Caddy in HAProxy's place: both ports, and an end in time", { skip: noCaddy }, async () => {
    await docker.script("docker compose up -d --no-deps caddy");
    await bringsMail(one("caddy"));
    // Whoever stays does not keep it.
    const release = await held(one("caddy"), 1);
    try {
      await docker.script("docker compose stop caddy");
    } finally {
      release();
    }
  });

  test("edges are removed and upgraded as the README says, and no sender notices", async () => {
    const ids: string[] = [];
    let over = false;
    // Each waits for its delivery, so that they stay below the sessions a minute that HAProxy allows one address.
    const load = Promise.all(
      [1, 2].map(async (sender) => {
        while (!over) {
          const id = await sent(one("haproxy"), 2465, `load-${sender}@example.com`, "--tls-on-connect");
          await delivered(id);
          ids.push(id);
        }
      }),
    );
    try {
      await until(() => ids.length >= 4);
      await docker.script("docker compose up -d --no-deps --scale edge=2 edge");
      assert.equal(edges().length, 2);
      await allInUse();
      const before = edges();
      await docker.script(documented("docker compose build").replace("git pull && ", ""));
      assert.equal(edges().length, 2);
      assert.ok(!edges().some((edge) => before.includes(edge)));
      await allInUse();
      const withNew = ids.length;
      await until(() => ids.length >= withNew + 4);
    } finally {
      over = true;
    }
    await load;
  });

  test("edges that are added are used without a reload, and as evenly as the first ones", async () => {
    await docker.script(documented("--scale edge=5"));
    await allInUse();
    assert.equal(edges().length, 5);
    const release = await held(one("haproxy"), 10);
    try {
      await until(async () => {
        const sessions = (await servers("starttls_edges")).map(({ scur }) => Number(scur));
        return sessions.filter((count) => count === 2).length === 5;
      });
    } finally {
      release();
    }
  });

  test("nginx in HAProxy's place: both ports, and edges that come later after a reload", async () => {
    await docker.script("docker compose up -d --no-deps nginx");
    const nginx = one("nginx");
    await bringsMail(nginx);
    await docker.script("docker compose up -d --no-deps --scale edge=6 edge");
    const late = edges().at(-1) as Container;
    await docker.script("docker compose kill -s HUP nginx");
    await until(async () => {
      await sent(nginx, 2465, "nginx@example.com", "--tls-on-connect");
      return nginx.output().includes(`up=${late.address("proxied")}:2465`);
    });
    await docker.script("docker compose stop nginx");
  });

  test("a backup as the README says has what is stored and what is not yet, and is put back", async () => {
    const copies = join(folder, "copies");
    mkdirSync(copies);
    const stored = await sent(one("haproxy"), 2465, "stored@example.com", "--tls-on-connect");
    await delivered(stored);
    await docker.script("docker compose up -d --no-deps --scale edge=1 edge && docker compose stop parse");
    const waiting = await sent(one("haproxy"), 2465, "waiting@example.com", "--tls-on-connect");
    await docker.script(documented("tar -C /from"), copies);
    await docker.script(
      "docker compose down && docker volume rm millrace_redis millrace_mail millrace_certificates",
    );
    const restored = documented("tar -C /to");
    assert.match(restored, /\ndocker compose run --rm cli audit\n$/);
    await docker.script(restored, copies);
    await delivered(stored);
    await delivered(waiting);
    for (const to of ["stored", "waiting"])
      assert.equal(readdirSync(join(folder, `volumes/mail/maildir/${to}@example.com/new`)).length, 1);
  });

  test("all of them end in time", async () => {
    await docker.script("docker compose down");
  });
});
