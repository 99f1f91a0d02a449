import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { globSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { extname, join, resolve } from "node:path";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";
import { freePort } from "../support/free-port.ts";
import { until } from "../support/until.ts";
import { UserFolder } from "./user-folder.ts";

const workspace = resolve(import.meta.dirname, "../..");
/** Milliseconds: npm fetches some fifty packages and a Node, on a machine that does other things as well. */
const installWithin = 600_000;

interface Packed {
  version: string;
  file: string;
  integrity: string;
  packages: string[];
  dependencies: Record<string, string>;
  files: string[];
}

describe("the SDK in a folder outside the workspace", { timeout: 2 * installWithin }, () => {
  const user = new UserFolder();
  const installed = join(user.path, "node_modules/@millrace/pipeline");
  let packed: Packed;
  let again: Packed;

  before(
    async () => {
      packed = JSON.parse(await pack("npm", "run", "--silent", "pack:sdk", "--")) as Packed;
      user.write("package.json", {
        name: "mill-hand",
        private: true,
        type: "module",
        dependencies: { "@millrace/pipeline": `file:${packed.file}` },
        devDependencies: pinnedInWorkspace("typescript", "@types/node"),
      });
      const [install, second] = await Promise.all([
        user.run("npm", "install", "--prefer-offline", "--no-audit", "--no-fund", "--loglevel=error"),
        pack(process.execPath, join(workspace, "services/cli/pack/main.ts")),
      ]);
      assert.equal(install.status, 0, install.stderr);
      again = JSON.parse(second) as Packed;
    },
    { timeout: installWithin },
  );
  after(async () => {
    await user.stopAll();
    user.remove();
  });

  /** Packs to a folder of its own, and returns what it says. */
  async function pack(program: string, ...words: string[]): Promise<string> {
    const out = join(user.path, `packed-by-${words.length}`);
    mkdirSync(out);
    const all = [...words, "--json", "--out", out];
    return (await promisify(execFile)(program, all, { cwd: workspace, maxBuffer: 64 * 1024 * 1024 })).stdout;
  }

  test("the same sources give the same tarball, octet by octet", () => {
    assert.equal(again.integrity, packed.integrity);
    assert.deepEqual(again.files, packed.files);
  });

  test("the tarball has every library and service, and neither sources nor tests nor the examples", () => {
    const projects = globSync(["libs/*/package.json", "services/*/package.json"], { cwd: workspace }).filter(
      (file) => file !== "services/examples/package.json",
    );
    const names = projects.map((file) => readJson(join(workspace, file)).name as string);
    assert.deepEqual([...packed.packages].sort(), names.sort());

    const asTheyAre = projects.flatMap((file) => {
      const { files = [], name } = readJson(join(workspace, file)) as { files?: string[]; name: string };
      const folder = name === "@millrace/pipeline" ? "" : `node_modules/${name}/`;
      return files.map((each) => folder + each);
    });
    const wrong = packed.files.filter(
      (file) =>
        !asTheyAre.some((each) => file === each || file.startsWith(`${each}/`)) &&
        (/(?<!\.d)\.[cm]?tsx?$/.test(file) || /\.test\.|(^|\/)(suite|fixtures)\/|tsbuildinfo/.test(file)),
    );
    assert.deepEqual(wrong, []);
  });

  test("nothing in it tells where it was built", () => {
    const marks = [`${workspace}/`, `${homedir()}/`, user.path];
    const telling = globSync("**/*.{js,mjs,ts,mts,json}", {
      cwd: installed,
      exclude: ["**/.cache/**"],
    }).filter((file) => marks.some((mark) => readFileSync(join(installed, file), "utf8").includes(mark)));
    assert.deepEqual(telling, []);
  });

  test("there is one copy of the SDK, and npm finds nothing missing and nothing that does not fit", async () => {
    const copies = globSync("node_modules/**/package.json", { cwd: user.path }).filter(
      (file) => readJson(join(user.path, file)).name === "@millrace/pipeline",
    );
    assert.deepEqual(copies, ["node_modules/@millrace/pipeline/package.json"]);
    const { status, stdout, stderr } = await user.run("npm", "ls", "--all", "--loglevel=error");
    assert.equal(status, 0, stdout + stderr);
  });

  test("every import of every packed file leads to a file", async () => {
    const files = globSync("**/*.{js,mjs}", { cwd: installed }).filter(ours);
    assert.ok(files.length > 100, `only ${files.length} files were found`);
    const imports = files.flatMap((file) => importsOf(join(installed, file)));
    user.write("resolve-imports.mjs", resolveImports);
    user.write("imports.json", imports);
    const { status, stdout, stderr } = await user.run(
      join(user.path, "node_modules/.bin/node"),
      "--experimental-import-meta-resolve",
      "resolve-imports.mjs",
    );
    assert.equal(status, 0, stderr);
    assert.deepEqual(JSON.parse(stdout), []);
  });

  const ours = (file: string) =>
    !/node_modules\//.test(file) || packed.packages.some((name) => file.startsWith(`node_modules/${name}/`));

  test("a worker is checked by the compiler, and a mistake in it is found", async () => {
    user.write("worker.ts", worker);
    user.write("wrong.ts", wrongWorker);
    const check = (file: string) =>
      user.run(
        ...(["npx", "tsc", "--ignoreConfig", "--noEmit", "--strict", "--module", "nodenext"] as const),
        ...["--target", "esnext", "--types", "node", "--allowImportingTsExtensions", file],
      );
    const [right, wrong] = await Promise.all([check("worker.ts"), check("wrong.ts")]);
    assert.equal(right.status, 0, right.stdout);
    assert.notEqual(wrong.status, 0, "wrong.ts was found right");
    const expected = wrongWorker.split("\n").flatMap((line, i) => (/\/\/ wrong/.test(line) ? [i + 1] : []));
    const lines = [...wrong.stdout.matchAll(/^wrong\.ts\((\d+),/gm)].map(([, line]) => Number(line));
    assert.deepEqual([...new Set(lines)], expected, wrong.stdout);
  });

  test("a test of a worker runs there, with the test kit", async () => {
    user.write("worker.test.ts", workerTest);
    const { status, stdout } = await user.run("npx", "node", "--test", "worker.test.ts");
    assert.equal(status, 0, stdout);
    assert.match(stdout, /pass 1/);
  });

  test("the command runs on the pinned Node, whichever Node the machine has", async () => {
    const command = join(user.path, "node_modules/.bin/millrace");
    const { status, stdout, stderr } = await user.run("node", command, "--help");
    assert.equal(status, 0, stderr);
    assert.match(stdout, /Usage: millrace/);
    const { stdout: version } = await user.run("npx", "node", "--version");
    assert.equal(version.trim(), `v${packed.dependencies.node}`);
  });

  test("`millrace new worker` makes a folder whose test passes at once, under node:test and under Vitest", {
    timeout: installWithin,
  }, async () => {
    const made = await user.run("npx", "millrace", "new", "worker", "invoices");
    assert.equal(made.status, 0, made.stderr);
    const npm = (...words: string[]) =>
      user.runIn(
        "invoices",
        "npm",
        ...words,
        "--prefer-offline",
        "--no-audit",
        "--no-fund",
        "--loglevel=error",
      );
    const install = await npm("install");
    assert.equal(install.status, 0, install.stderr);
    for (const script of ["test", "typecheck"]) {
      const { status, stdout, stderr } = await user.runIn("invoices", "npm", "run", script);
      assert.equal(status, 0, stdout + stderr);
    }
    const vitest = await npm("install", "--save-dev", vitestVersion);
    assert.equal(vitest.status, 0, vitest.stderr);
    user.write("invoices/invoices.spec.ts", vitestTest);
    const { status, stdout, stderr } = await user.runIn(
      "invoices",
      "npx",
      "vitest",
      "run",
      "invoices.spec.ts",
    );
    assert.equal(status, 0, stdout + stderr);
    assert.match(stdout, /2 passed/);
  });

  test("`npx millrace` runs the whole pipeline, and a worker handles what is sent to it", {
    timeout: installWithin,
  }, async () => {
    Object.assign(user.env, {
      MILLRACE_DATA_DIR: join(user.path, "data"),
      SMTP_PORT: String(await freePort()),
      CONSOLE_PORT: "0",
    });
    // A webhook's links need the console, so that it runs as well; nothing is sent there.
    user.write("millrace.config.json", {
      routes: [
        { recipients: "nobody@hooks.example", to: { webhook: "http://127.0.0.1:9/", allowPrivate: true } },
        { recipients: "*", to: { maildir: "./inbox" } },
      ],
      // The edge's process for policies is another file that is named at run time.
      policies: [{ file: "./policy.ts" }],
    });
    user.write(
      "policy.ts",
      `import { definePolicy, tag } from "@millrace/pipeline";
export default definePolicy({ name: "installed", on: "mail", decide: () => tag("decided") });
`,
    );
    const up = user.start("npx", "millrace", "up");
    await awaitOutput(up, /Ctrl-C stops all of it/);
    for (const name of ["edge", "parse", "store", "deliver", "console"])
      await awaitOutput(up, new RegExp(`"name":"${name}".*"msg":"ready"`));
    const hand = user.start("npx", "millrace", "worker", "./worker.ts");
    await awaitOutput(hand, /"msg":"ready"/);

    const sent = await user.run(
      "npx",
      "millrace",
      "send",
      "--to",
      "a@example.com",
      "--text",
      "one two three",
    );
    assert.equal(sent.status, 0, sent.stderr);
    const [, id = ""] = /queued as (\S+)/.exec(sent.stdout) ?? [];
    await awaitOutput(hand, /"words":3.*"msg":"counted"/);
    // Nothing that was parsed would be in the mail store if the parser's threads, which are files that a service names
    // at run time, had not been found.
    await until(async () => {
      const { stdout } = await user.run("npx", "millrace", "messages", "show", id);
      return /delivered/.test(stdout) && /one two three/.test(stdout);
    }, 120_000);
    assert.equal(readdirSync(join(user.path, "inbox/new")).length, 1);
    assert.match((await user.run("npx", "millrace", "trace", id)).stdout, /tags decided/);

    await hand.end();
    await up.end();
    assert.match(up.output(), /stopped; all mail is kept/);
  });
});

async function awaitOutput(running: { output(): string }, pattern: RegExp): Promise<void> {
  await until(() => pattern.test(running.output()), 180_000).catch(() => {
    throw new Error(`${pattern} did not come:\n${running.output()}`);
  });
}

const vitestVersion = "vitest@5.1.1";
const vitestTest = `import { expect, test } from "vitest";
import { mail, runWorker, startPipeline } from "@millrace/pipeline/testing";
import worker from "./invoices.ts";

test("a PDF is saved", async () => {
  const run = await runWorker(worker, mail("invoice.eml"));
  expect(run.outcome).toBe("done");
  expect(run.events).toHaveLength(1);
});

test("in a real pipeline too", { timeout: 120_000 }, async () => {
  const pipeline = await startPipeline({ workers: [worker] });
  try {
    const message = await pipeline.send("invoice");
    const { data } = await pipeline.waitFor("pdf.saved", { message });
    expect(data.files).toHaveLength(1);
  } finally {
    await pipeline.stop();
  }
});
`;

const worker = `import { defineWorker } from "@millrace/pipeline";

export default defineWorker({
  name: "count-words",
  on: "message.parsed",
  async handle(event, ctx) {
    const defects: readonly string[] = event.data.defects;
    const { text } = await ctx.parsed();
    ctx.log.info({ words: text.trim().split(/\\s+/).length, defects }, "counted");
  },
});
`;

const workerTest = `import { equal } from "node:assert/strict";
import { test } from "node:test";
import { mail, runWorker } from "@millrace/pipeline/testing";
import worker from "./worker.ts";

test("words are counted", async () => {
  const { logs } = await runWorker(worker, mail(Buffer.from("Subject: words\\r\\n\\r\\none two three\\r\\n")));
  equal(logs.some((line) => line.words === 3), true);
});
`;

const wrongWorker = `import { defineWorker } from "@millrace/pipeline";

export default defineWorker({
  name: 7, // wrong
  on: "message.parsed",
  async handle(event, ctx) {
    ctx.log.info({ target: event.data.target }, "what deliveries carry"); // wrong
    const { texts } = await ctx.parsed(); // wrong
    return ctx.log.info({ texts }, "no such thing");
  },
});
`;

/** Runs in the user's folder: prints each import that leads nowhere. */
const resolveImports = `import { existsSync, readFileSync } from "node:fs";
import { isBuiltin } from "node:module";
import { fileURLToPath, pathToFileURL } from "node:url";
const leadsNowhere = ([file, specifier]) => {
  if (isBuiltin(specifier)) return false;
  try {
    return !existsSync(fileURLToPath(import.meta.resolve(specifier, pathToFileURL(file).href)));
  } catch {
    return true;
  }
};
console.log(JSON.stringify(JSON.parse(readFileSync("imports.json", "utf8")).filter(leadsNowhere)));
`;

/** What a compiled file imports, and the files that it names beside itself, each with the file. */
function importsOf(file: string): [file: string, specifier: string][] {
  const text = readFileSync(file, "utf8");
  const imports = text.matchAll(/^(?:import|export) (?:.* from )?"([^"]+)";/gm);
  const beside = text.matchAll(/new URL\([`"](\.[^`"$]*)(\$\{extname\(import\.meta\.url\)\})?[`"]/g);
  return [
    ...Array.from(imports, ([, specifier]): [string, string] => [file, specifier as string]),
    ...Array.from(beside, ([, name = "", likeThis]): [string, string] => [
      file,
      likeThis ? name + extname(file) : name,
    ]),
  ];
}

function pinnedInWorkspace(...names: string[]): Record<string, string> {
  const { devDependencies } = readJson(join(workspace, "package.json")) as {
    devDependencies: Record<string, string>;
  };
  return Object.fromEntries(names.map((name) => [name, devDependencies[name] as string]));
}

function readJson(file: string): Record<string, unknown> {
  return JSON.parse(readFileSync(file, "utf8")) as Record<string, unknown>;
}
