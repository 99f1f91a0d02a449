import { execFile } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from "node:fs";
import { delimiter, dirname, join, resolve } from "node:path";
import { promisify } from "node:util";
import dockerignore from "@balena/dockerignore";
import { type Copy, DockerfileParser, type From, type JSONInstruction } from "dockerfile-ast";
import { emptyLayer, type InsideOptions, inside, runInside } from "./root-folder.ts";

const run = promisify(execFile);

/** What a stage of a Dockerfile has become. */
export interface Image {
  layers: string[];
  env: Record<string, string>;
  workdir: string;
  /** As USER says: `uid:gid`. */
  user: string;
  entrypoint: string[];
  cmd: string[];
}

export interface BuildOptions {
  dockerfile: string;
  /** The folder that COPY starts from. */
  context: string;
  /** For layers: not on the file system of /, where overlayfs takes no folder for two layers at once. */
  folder: string;
  /** What stands in for images that FROM takes from elsewhere, by their name. */
  base: (name: string) => Image;
}

/**
 * Carries out a Dockerfile's steps, for a machine without an engine: each COPY and RUN of the stages that the last one
 * needs, in folders over this machine's own files. What it does not know is an error, not left out.
 */
export class Build {
  private readonly options: BuildOptions;
  private readonly text: string;
  private readonly stages = new Map<string, Promise<Image>>();

  constructor(options: BuildOptions) {
    this.options = options;
    this.text = readFileSync(options.dockerfile, "utf8");
  }

  /** A stage, with these values of ARG; the last one unless `target` says another. */
  async image({ args = {}, target }: { args?: Record<string, string>; target?: string }): Promise<Image> {
    const parsed = DockerfileParser.parse(this.text);
    const globals: Record<string, string> = {};
    for (const arg of parsed.getInitialARGs()) {
      const property = arg.getProperty();
      if (property) globals[property.getName()] = args[property.getName()] ?? property.getValue() ?? "";
    }
    const last = parsed.getFROMs().at(-1) as From;
    return this.from(target ?? last.getImage() ?? "", globals);
  }

  /** A stage of this file, or an image from elsewhere. */
  private from(name: string, globals: Record<string, string>): Promise<Image> {
    const meant = expanded(name, globals);
    const froms = DockerfileParser.parse(this.text).getFROMs();
    const at = froms.findIndex((from) => from.getBuildStage() === meant);
    if (at === -1) return Promise.resolve(this.options.base(meant));
    const known = this.stages.get(meant) ?? this.stage(at, froms, globals);
    this.stages.set(meant, known);
    return known;
  }

  private async stage(at: number, froms: From[], globals: Record<string, string>): Promise<Image> {
    const from = froms[at] as From;
    const end = froms[at + 1]?.getRange().start.line ?? Number.POSITIVE_INFINITY;
    const parent = await this.from(from.getImage() ?? "", globals);
    const image: Image = { ...parent, layers: [...parent.layers, emptyLayer(this.options.folder)] };
    const steps = DockerfileParser.parse(this.text)
      .getInstructions()
      .filter((each) => {
        const { line } = each.getRange().start;
        return line > from.getRange().start.line && line < end;
      });
    for (const step of steps) {
      const words = step.getArguments().map((each) => each.getValue());
      switch (step.getKeyword()) {
        case "ENV":
          for (const word of words) {
            const [name = "", ...value] = word.split("=");
            image.env = { ...image.env, [name]: value.join("=") };
          }
          break;
        case "WORKDIR":
          image.workdir = words[0] as string;
          break;
        case "USER":
          image.user = words[0] as string;
          break;
        case "ENTRYPOINT":
          image.entrypoint = jsonOf(step as JSONInstruction);
          image.cmd = [];
          break;
        case "CMD":
          image.cmd = jsonOf(step as JSONInstruction);
          break;
        case "RUN":
          await runInside(insideOf(image), ["sh", "-c", step.getArgumentsContent() ?? ""]);
          break;
        case "COPY":
          await this.copy(image, words, (step as Copy).getFromFlag()?.getValue() ?? undefined, globals);
          break;
        default:
          throw new Error(`${this.options.dockerfile}: a test does not know how to do ${step.getKeyword()}`);
      }
    }
    return image;
  }

  private async copy(
    image: Image,
    words: string[],
    fromStage: string | undefined,
    globals: Record<string, string>,
  ) {
    const paths = words.filter((word) => !word.startsWith("--"));
    const to = resolve(image.workdir, paths.at(-1) as string);
    const target = join(image.layers.at(-1) as string, to);
    const folder = paths.length > 2 || /(^|\/)\.?\/?$/.test(paths.at(-1) as string);
    const source = fromStage ? await this.from(fromStage, globals) : undefined;
    const context = source ? undefined : contextOf(this.options);
    for (const path of paths.slice(0, -1)) {
      mkdirSync(folder ? target : dirname(target), { recursive: true });
      // A folder's content is copied, not the folder itself; and all belongs to root. A file that an earlier step has
      // removed is a device in this layer, which must not be written to.
      const script =
        'cd "$0" && if [ -d "$1" ]; then mkdir -p "$2" && cp -R --no-dereference --preserve=mode,timestamps "$1/." "$2"; ' +
        'else cp --remove-destination --no-dereference --preserve=mode,timestamps "$1" "$2"; fi';
      if (source) {
        const [program, ...rest] = inside(
          {
            ...insideOf({ ...source, layers: [...source.layers, emptyLayer(this.options.folder)] }),
            binds: [{ source: folder ? target : dirname(target), target: "/mnt", readOnly: false }],
          },
          ["sh", "-c", script, "/", path, folder ? "/mnt" : join("/mnt", to.split("/").at(-1) as string)],
        );
        await run(program, rest);
      } else await run("sh", ["-c", script, context as string, path, target]);
    }
  }
}

function insideOf({ layers, env, workdir }: Image): InsideOptions {
  return { layers, workdir, env: { ...environmentOfBuilds(), ...env } };
}

function jsonOf(instruction: JSONInstruction): string[] {
  return instruction.getJSONStrings().map((each) => each.getJSONValue());
}

function expanded(text: string, values: Record<string, string>): string {
  return text.replace(/\$\{(\w+)\}/g, (_, name: string) => {
    const value = values[name];
    if (value === undefined) throw new Error(`${text}: there is no ARG ${name}`);
    return value;
  });
}

const contexts = new Map<string, string>();

/** A copy of what the engine would be sent: all files but those that the .dockerignore leaves out. */
function contextOf({ context, dockerfile, folder }: BuildOptions): string {
  const known = contexts.get(folder);
  if (known) return known;
  const ignored = dockerignore.default().add(readFileSync(`${dockerfile}.dockerignore`, "utf8"));
  const copy = join(folder, "context");
  const take = (path: string) => {
    for (const entry of readdirSync(join(context, path), { withFileTypes: true })) {
      const each = path === "" ? entry.name : `${path}/${entry.name}`;
      if (entry.isDirectory()) {
        // Looked into only where something in it may be wanted: they are large.
        if (entry.name !== "node_modules" || !ignored.ignores(`${each}/x`)) take(each);
      } else if (!ignored.ignores(each)) {
        mkdirSync(dirname(join(copy, each)), { recursive: true });
        cpSync(join(context, each), join(copy, each), { verbatimSymlinks: true });
      }
    }
  };
  take("");
  contexts.set(folder, copy);
  return copy;
}

/** Of a build: where npm finds its registry on this machine, and nothing that npm says to its scripts. */
function environmentOfBuilds(): Record<string, string> {
  const kept =
    /^(HOME|(https?|no)_proxy|npm_config_(registry|cafile|cache)|NODE_EXTRA_CA_CERTS|SSL_CERT_\w+)$/i;
  return Object.fromEntries(
    Object.entries(process.env).filter((each): each is [string, string] => kept.test(each[0])),
  );
}

/** Stands in for the official image of Node: the Node that runs this, and npm. */
export function nodeImage(folder: string): Image {
  const layer = emptyLayer(folder);
  const bin = join(layer, "usr/local/bin");
  mkdirSync(bin, { recursive: true });
  copyFileSync(process.execPath, join(bin, "node"));
  const npm = (process.env.PATH ?? "")
    .split(delimiter)
    .filter((each) => each && !each.includes("node_modules"))
    .map((each) => join(each, "npm"))
    .find((each) => readable(each));
  if (!npm) throw new Error("no npm in PATH");
  writeFileSync(join(bin, "npm"), `#!/bin/sh\nexec node "$(readlink -f ${npm})" "$@"\n`);
  for (const each of ["node", "npm"]) chmodSync(join(bin, each), 0o755);
  return {
    layers: [layer],
    env: { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" },
    workdir: "/",
    user: "0:0",
    entrypoint: ["docker-entrypoint.sh"],
    cmd: ["node"],
  };
}

function readable(path: string): boolean {
  try {
    readFileSync(path);
    return true;
  } catch {
    return false;
  }
}
