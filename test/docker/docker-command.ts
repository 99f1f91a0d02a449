import { execFile } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { json } from "node:stream/consumers";
import { promisify } from "node:util";
import { dockerFolder } from "./compose-model.ts";
import type { Container } from "./engine.ts";
import { type Project, together } from "./project.ts";
import { emptyLayer, runInside } from "./root-folder.ts";

/**
 * `docker`, as far as the commands of docker/README.md go, carried out without an engine: see Engine. What it does not
 * know is an error, not left out.
 */
export class DockerCommand {
  private readonly project: Project;
  /** For its own files, and for layers. */
  private readonly folders: { folder: string; layers: string };

  constructor(project: Project, folders: { folder: string; layers: string }) {
    this.project = project;
    this.folders = folders;
  }

  /**
   * Has bash run a script in which `docker` is this one.
   * @param folder in which it runs
   * @throws with what it has written, when its status is not 0
   */
  async script(text: string, folder = this.folders.folder): Promise<void> {
    const bin = join(this.folders.folder, "bin");
    const socketPath = join(bin, "socket");
    mkdirSync(bin, { recursive: true });
    const program = [
      `#!${process.execPath}`,
      `const options = { socketPath: ${JSON.stringify(socketPath)}, method: "POST" };`,
      'const asked = require("node:http").request(options, (answer) => {',
      "  process.exitCode = answer.statusCode === 200 ? 0 : 1;",
      "  answer.pipe(process.exitCode === 0 ? process.stdout : process.stderr);",
      "});",
      "asked.end(JSON.stringify(process.argv.slice(2)));",
    ];
    writeFileSync(join(bin, "docker"), `${program.join("\n")}\n`, { mode: 0o755 });
    const server = createServer((request, response) => {
      const done = json(request).then((words) => this.docker(words as string[]));
      done.then(
        (said) => response.end(said),
        (error) => response.writeHead(500).end(`${(error as Error).message}\n`),
      );
    });
    await once(server.listen(socketPath), "listening");
    try {
      const env = { ...process.env, PATH: `${bin}:${process.env.PATH}` };
      await promisify(execFile)("bash", ["-euo", "pipefail", "-c", text], { cwd: folder, env });
    } finally {
      server.close();
    }
  }

  private async docker(words: string[]): Promise<string> {
    const [command, ...rest] = words;
    const { project } = this;
    if (command === "compose") return this.compose(rest);
    if (command === "run") return this.runImage(rest);
    if (command === "stop") await together(rest.map((name) => project.stop(project.byName(name))));
    else if (command === "rm") for (const name of rest) project.remove(project.byName(name));
    else if (command === "volume" && rest[0] === "rm")
      for (const name of rest.slice(1)) rmSync(this.volume(name), { recursive: true });
    else throw unknown(words);
    return "";
  }

  private async compose([command = "", ...words]: string[]): Promise<string> {
    const { project } = this;
    const running = (services: string[]): Container[] =>
      services.flatMap((service) => project.containersOf(service)).flatMap(({ running }) => running ?? []);
    switch (command) {
      case "build":
        for (const each of project.containersOf())
          each.obsolete ||= project.model.services[each.service]?.build !== undefined;
        return "";
      case "up":
        await this.up(words);
        return "";
      case "ps":
        return running(parsed(words, ["-q"]).rest)
          .map(({ name }) => `${name}\n`)
          .join("");
      case "stop":
        await project.stopAll(words);
        return "";
      case "start":
        await project.inOrder(project.wanted(), async (service) => {
          await together(project.containersOf(service).map((each) => project.start(each)));
        });
        return "";
      case "down":
        await project.stopAll();
        for (const each of project.containersOf()) project.remove(each);
        return "";
      case "kill": {
        const { options, rest } = parsed(words, [], ["-s"]);
        for (const each of running(rest)) each.signal(`SIG${options.get("-s")?.[0]}` as NodeJS.Signals);
        return "";
      }
      case "run": {
        const [service = "", ...rest] = parsed(words, ["--rm"]).rest;
        const { stdout, stderr, status } = await project.engine.runOnce(service, rest);
        if (status !== 0) throw new Error(`${service} ${rest.join(" ")}: ${status}: ${stderr}${stdout}`);
        return stdout;
      }
      default:
        throw unknown(["compose", command, ...words]);
    }
  }

  private async up(words: string[]): Promise<void> {
    const { project } = this;
    const plain = ["-d", "--build", "--no-deps", "--no-recreate", "--wait"];
    const { options, rest } = parsed(words, plain, ["--scale"]);
    // With what they depend on, others would be started.
    if (rest.length > 0 && !options.has("--no-deps")) throw unknown(["compose", "up", ...words]);
    const scales = new Map(options.get("--scale")?.map((each) => each.split("=") as [string, string]));
    await project.inOrder(rest.length > 0 ? rest : project.wanted(), (service) => {
      const count = scales.get(service) ?? project.model.services[service]?.deploy?.replicas ?? 1;
      return project.converge(service, Number(count), !options.has("--no-recreate"));
    });
  }

  /** `docker run` of an image that has what this machine has. */
  private runImage(words: string[]): Promise<string> {
    const { options, rest } = parsed(words, ["--rm"], ["-v"]);
    const binds = (options.get("-v") ?? []).map((each) => {
      const [source = "", target = "", mode] = each.split(":");
      return {
        ...{ source: source.startsWith("/") ? source : this.volume(source), target },
        readOnly: mode === "ro",
      };
    });
    const layers = [emptyLayer(this.folders.layers)];
    return runInside({ layers, env: {}, workdir: "/", binds }, rest.slice(1));
  }

  /** A volume's folder, which is made when it is not there. Volumes' names begin with the project's. */
  private volume(name: string): string {
    const { model, engine } = this.project;
    const own = name.startsWith(`${model.name}_`) ? name.slice(model.name.length + 1) : "";
    if (!(own in model.volumes)) throw new Error(`no volume of this project: ${name}`);
    const folder = engine.volumeFolder(own);
    mkdirSync(folder, { recursive: true });
    return folder;
  }
}

/** Options that come first, and the words after them. */
function parsed(
  words: readonly string[],
  plain: readonly string[],
  valued: readonly string[] = [],
): { options: Map<string, string[]>; rest: string[] } {
  const options = new Map<string, string[]>();
  const rest = [...words];
  while (rest[0]?.startsWith("-")) {
    const option = rest.shift() as string;
    if (!plain.includes(option) && !valued.includes(option)) throw unknown(words);
    const value = valued.includes(option) ? [rest.shift() as string] : [];
    options.set(option, [...(options.get(option) ?? []), ...value]);
  }
  return { options, rest };
}

function unknown(words: readonly string[]): Error {
  return new Error(`a test does not know how to do docker ${words.join(" ")}`);
}

/** The block of commands in docker/README.md that has these words in it. */
export function documented(words: string): string {
  const readme = readFileSync(join(dockerFolder, "README.md"), "utf8");
  const blocks = [...readme.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map(([, block = ""]) => block);
  const [found, ...others] = blocks.filter((block) => block.includes(words));
  if (found === undefined || others.length > 0)
    throw new Error(`docker/README.md: ${blocks.length} blocks, and not one alone with ${words}`);
  return found;
}
