import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { loadConfig } from "@millrace/service";
import { DockerfileParser } from "dockerfile-ast";
import {
  type ComposeModel,
  cannotRead,
  dockerFolder,
  readCompose,
  type Service,
  secondsOf,
  workspace,
} from "./compose-model.ts";

const dockerfile = readFileSync(join(dockerFolder, "Dockerfile"), "utf8");

const readme = readFileSync(join(dockerFolder, "README.md"), "utf8");

/** How the files in docker/proxies were made, and are made again when a proxy's file changes. */
const proxyFiles: Record<string, string> = {
  "haproxy.cfg":
    "haproxy --cert /run/certificates/haproxy.pem --edge-dns edge:2465/9000 --starttls-edge-dns edge:2587/9000 --unprivileged /run/haproxy",
  "nginx.conf":
    "nginx --cert /run/certificates/fullchain.pem --edge edge:2465 --starttls-edge edge:2587 --unprivileged /run/nginx --access-log /dev/stdout",
  Caddyfile: `caddy --cert /run/certificates/fullchain.pem ${[1, 2, 3]
    .map((n) => `--edge millrace-edge-${n}:2465/9000 --starttls-edge millrace-edge-${n}:2587/9000`)
    .join(" ")}`,
};
const everyProxy =
  "--hostname mail.example.com --listen 0.0.0.0 --smtps-port 2465 --starttls-port 2587".split(" ");

for (const [file, words] of Object.entries(proxyFiles)) {
  test(`docker/proxies/${file} is what \`millrace proxy\` prints`, () => {
    const command = join(workspace, "services/cli/bin/millrace.mjs");
    const printed = execFileSync(process.execPath, [command, "proxy", ...words.split(" "), ...everyProxy], {
      encoding: "utf8",
    });
    assert.equal(readFileSync(join(dockerFolder, "proxies", file), "utf8"), printed);
    if (file !== "Caddyfile") assert.ok(spaced(readme).includes(`proxy ${words} ${everyProxy.join(" ")}`));
  });
}

/** With lines that go on joined. */
function spaced(text: string): string {
  return text.replace(/\\\n\s*/g, "").replace(/ +/g, " ");
}

test("the image's Node is the pinned one", () => {
  const { dependencies } = JSON.parse(readFileSync(join(workspace, "services/cli/package.json"), "utf8"));
  assert.match(dockerfile, new RegExp(`^ARG NODE_VERSION=${dependencies.node.replaceAll(".", "\\.")}$`, "m"));
});

test("npm installs for every service that has a stage", () => {
  const stages = DockerfileParser.parse(dockerfile)
    .getFROMs()
    .filter((from) => from.getImage() === "sources")
    .map((from) => from.getBuildStage());
  const installed = [...dockerfile.matchAll(/-w (?:@millrace\/)?(\w+)/g)].map(([, name]) =>
    name === "millrace" ? "cli" : name,
  );
  assert.deepEqual(stages.sort(), installed.sort());
  assert.deepEqual(stages, ["cli", "console", "deliver", "edge", "parse", "store"]);
});

test("every image that is not made here has a whole version", () => {
  const taken = DockerfileParser.parse(dockerfile)
    .getFROMs()
    .map((from) => from.getImage() ?? "")
    .filter((image) => image.includes(":"));
  assert.ok(taken.length >= 3);
  const whole = /^[a-z]+:(\d+\.\d+\.\d+|\$\{NODE_VERSION\})(-[a-z-]+)?$/;
  for (const image of taken) assert.match(image, whole);
});

describe("docker/compose.yaml, as compose-go reads it", { skip: cannotRead }, () => {
  const model = cannotRead ? undefined : readCompose();
  const services = Object.entries(model?.services ?? {});
  const service = (name: string) => model?.services[name] as Service;

  test("it is held against the schema of the Compose Specification", () => {
    const folder = mkdtempSync(join(tmpdir(), "millrace-compose-"));
    try {
      const wrong = join(folder, "compose.yaml");
      writeFileSync(wrong, "services: { edge: { image: a, restarts: always } }");
      assert.throws(() => readCompose({}, [wrong]), /restarts/);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test("a worker of one's own is added as the README says", () => {
    const folder = mkdtempSync(join(tmpdir(), "millrace-compose-"));
    try {
      const [, yaml = ""] = /```yaml\n(services:\n[\s\S]*?)```/.exec(readme) ?? [];
      const override = join(folder, "compose.override.yaml");
      writeFileSync(
        override,
        yaml.replace("file: compose.yaml", `file: ${join(dockerFolder, "compose.yaml")}`),
      );
      const own = readCompose({}, ["compose.yaml", override]).services.invoices;
      assert.equal(own?.image, service("cli").image);
      assert.deepEqual(own?.profiles ?? [], []);
      assert.deepEqual(own?.depends_on, service("cli").depends_on);
      assert.deepEqual(
        own?.volumes?.map(({ target }) => target),
        ["/data", "/app/workers"],
      );
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test("what its services name is there", () => {
    const problems = (compose: ComposeModel) =>
      Object.entries(compose.services).flatMap(([name, each]) =>
        [
          ...Object.keys(each.depends_on ?? {}).filter((other) => !compose.services[other]),
          ...Object.keys(each.networks ?? {}).filter((network) => !(network in compose.networks)),
          ...(each.volumes ?? [])
            .map(({ source }) => source)
            .filter((volume) => !(volume in compose.volumes)),
          ...(each.configs ?? []).map(({ source }) => source).filter((config) => !compose.configs[config]),
        ].map((missing) => `${name}: ${missing}`),
      );
    assert.deepEqual(problems(model as ComposeModel), []);
    for (const { file } of Object.values(model?.configs ?? {})) assert.ok(existsSync(file), file);
    assert.deepEqual(
      problems({ ...(model as ComposeModel), configs: {}, services: { nginx: service("nginx") } }),
      ["nginx: certificate", "nginx: edge", "nginx: nginx"],
    );
  });

  test("images made here have this version, and the others a whole one", () => {
    const { version } = JSON.parse(readFileSync(join(workspace, "package.json"), "utf8"));
    for (const [name, { image, build }] of services)
      assert.match(image, build ? new RegExp(`^millrace-${name}:${version}$`) : /^[a-z]+:\d+\.\d+\.\d+$/);
  });

  test("nobody is root for long, and nobody may more than is needed", () => {
    for (const [name, each] of services) {
      assert.equal(each.read_only, true, name);
      assert.deepEqual(each.cap_drop, ["ALL"], name);
      assert.deepEqual(each.security_opt, ["no-new-privileges:true"], name);
      assert.equal(each.cap_add ?? each.privileged, undefined, name);
      if (name === "certificate") assert.equal(each.network_mode, "none");
      else assert.notEqual(each.user?.split(":")[0], "0", name);
    }
    for (const from of ["sources", "caddy"]) {
      const stage = dockerfile.slice(dockerfile.indexOf(` AS ${from}\n`)).split(/^FROM /m)[0] as string;
      assert.match(stage, /^USER 1000:1000$/m, from);
    }
  });

  test("everybody has a time-out that is longer than it takes to stop", async () => {
    const { settings } = await configOf("edge");
    // README, "Health, and stopping without a loss".
    const drained = settings.SMTP_DRAIN_SECONDS + 15 + settings.SMTP_COMMIT_TIMEOUT_SECONDS + 5;
    assert.ok(secondsOf(service("edge").stop_grace_period ?? "10s") > drained);
    // What HAProxy needs to notice: inter times fall, and a second more.
    const [, inter, fall] = /default-server inter (\d+)s fall (\d+)/.exec(proxyFile("haproxy.cfg")) ?? [];
    assert.ok(settings.SMTP_DRAIN_SECONDS >= Number(inter) * Number(fall) + 1);
    for (const [name, { restart, stop_grace_period }] of services)
      if (restart !== "no") assert.ok(secondsOf(stop_grace_period ?? "10s") >= 30, name);
  });

  test("each setting is one that Millrace has, and each configuration is good", async () => {
    const known = readFileSync(join(workspace, "README.md"), "utf8");
    const notSettings = ["MILLRACE_HOSTNAME", "PROXIED_SUBNET"];
    for (const [name, { build, environment = {} }] of services) {
      if (!build?.args) continue;
      for (const setting of Object.keys(environment))
        assert.ok(
          notSettings.includes(setting) || known.includes(`| \`${setting}\` |`),
          `${name}: ${setting}`,
        );
      await configOf(name);
    }
  });

  test("edges believe the network that the proxies share with them, and nobody else is in it", async () => {
    const subnet = model?.networks.proxied?.ipam?.config[0]?.subnet;
    const { listeners, health } = await configOf("edge");
    for (const { proxies, host } of listeners) {
      assert.deepEqual(proxies, [subnet]);
      assert.equal(host, "0.0.0.0");
    }
    assert.equal(health?.host, "0.0.0.0");
    const inIt = services
      .filter(([, { networks }]) => networks && "proxied" in networks)
      .map(([name]) => name);
    assert.deepEqual(inIt.sort(), ["caddy", "edge", "haproxy", "nginx"]);
  });

  test("Redis is reached by those who need it alone, and from outside by nobody", () => {
    assert.equal(model?.networks.inside?.internal, true);
    assert.deepEqual(Object.keys(service("redis").networks ?? {}), ["inside"]);
    assert.equal(service("redis").ports, undefined);
    for (const name of ["edge", "parse", "store", "deliver", "console", "cli"])
      assert.ok("inside" in (service(name).networks ?? {}), name);
    for (const name of ["haproxy", "nginx", "caddy"])
      assert.ok(!("inside" in (service(name).networks ?? {})), name);
  });

  test("Redis keeps what it has acknowledged", () => {
    for (const setting of ["--appendonly yes", "--appendfsync always", "--maxmemory-policy noeviction"])
      assert.ok(service("redis").command?.includes(setting), setting);
    assert.deepEqual(
      service("redis").volumes?.map(({ source, target }) => `${source}:${target}`),
      ["redis:/data"],
    );
  });

  test("whoever reads or writes stored mail has the same volume", () => {
    for (const name of ["parse", "store", "deliver", "console", "cli"])
      assert.ok(
        service(name).volumes?.some(({ source, target }) => source === "mail" && target === "/data"),
        name,
      );
  });

  test("a number of edges can be asked for: none has a name or a port of its own", () => {
    const edge = service("edge");
    assert.equal(edge.deploy?.replicas, 3);
    assert.equal(edge.ports, undefined);
    assert.ok(!("container_name" in edge));
  });

  test("one proxy is there at a time: each in a profile, and .env names one", () => {
    const env = readFileSync(join(dockerFolder, ".env"), "utf8");
    const [, chosen = ""] = /^COMPOSE_PROFILES=(\w+)$/m.exec(env) ?? [];
    const proxies = ["haproxy", "nginx", "caddy"];
    assert.ok(proxies.includes(chosen));
    for (const name of proxies) {
      assert.deepEqual(service(name).profiles, [name]);
      assert.deepEqual(
        service(name).ports?.map(({ target, published }) => `${published}:${target}`),
        ["465:2465", "587:2587", "25:2587"],
      );
    }
  });

  test("all settings of .env are used, and there are defaults for them", () => {
    const text = readFileSync(join(dockerFolder, "compose.yaml"), "utf8");
    const env = readFileSync(join(dockerFolder, ".env"), "utf8");
    for (const [, name = "", value] of env.matchAll(/^(\w+)=(.*)$/gm))
      if (name !== "COMPOSE_PROFILES") assert.ok(text.includes(`\${${name}:-${value}}`), name);
  });

  function proxyFile(name: string): string {
    return readFileSync(join(dockerFolder, "proxies", name), "utf8");
  }

  /** The configuration as a service's container reads it. */
  function configOf(name: string) {
    const { environment = {}, configs = [] } = service(name);
    const mounted = configs.find(({ target }) => target === environment.MILLRACE_CONFIG);
    const file = model?.configs[mounted?.source ?? ""]?.file as string;
    return loadConfig({ ...environment, MILLRACE_DATA_DIR: "/data", MILLRACE_CONFIG: file }, "/app");
  }
});
