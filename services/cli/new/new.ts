import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import type { Command } from "commander";
import { sdkDependency } from "../sdk-dependency.ts";
import { CommandError, colour, print } from "../terminal.ts";

const template = fileURLToPath(new URL("./template", import.meta.url));

/** Names in the template that are others in the folder: npm leaves out files whose name begins with a dot. */
const names: Record<string, string> = {
  "worker.ts": "{{name}}.ts",
  "worker.test.ts": "{{name}}.test.ts",
  gitignore: ".gitignore",
  dockerignore: ".dockerignore",
};

/** Workers that are there already, and names that commands and the journal use for something else. */
const taken = ["parse", "store", "deliver", "edge", "console", "replay"];

export function addNewCommand(program: Command): void {
  program
    .command("new")
    .description("make a folder to begin with")
    .command("worker")
    .description("a folder with a worker of your own: its code, configuration, test and Dockerfile")
    .argument("<name>", "lower case letters, digits and -; names the folder and the worker")
    .option("--dir <folder>", "where to make the folder", ".")
    .action(newWorker);
}

async function newWorker(name: string, options: { dir: string }): Promise<void> {
  if (!/^[a-z][a-z0-9-]{0,62}$/.test(name)) {
    throw new CommandError(
      `${JSON.stringify(name)} cannot be a worker's name: give lower case letters, digits and "-", a letter first, 63 at most`,
      2,
    );
  }
  if (taken.includes(name)) {
    throw new CommandError(`${name} is Millrace's own: choose another name`, 2);
  }
  const folder = resolve(options.dir, name);
  const sdk = await sdkDependency(folder);
  mkdirSync(resolve(options.dir), { recursive: true });
  try {
    // Not "recursive": a folder that is there, by whomever, is left alone.
    mkdirSync(folder);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const reason =
      code === "EEXIST" ? "is there already: choose another name, or another folder with --dir" : message;
    throw new CommandError(`${shown(folder)} ${reason}`);
  }
  const values: Record<string, string> = { name, sdk, variable: name.toUpperCase().replaceAll("-", "_") };
  const fill = (text: string) => text.replace(/\{\{(\w+)\}\}/g, (whole, key) => values[key] ?? whole);
  const made = readdirSync(template).map((file) => {
    const plain = file.replace(/\.template$/, "");
    const target = fill(names[plain] ?? plain);
    writeFileSync(join(folder, target), fill(readFileSync(join(template, file), "utf8")));
    return target;
  });
  await print(welcome(folder, made));
}

function welcome(folder: string, files: readonly string[]): string {
  return [
    `${colour.green("made")} ${shown(folder)}: ${[...files].sort().join(", ")}\n`,
    `\n${colour.dim("next")}\n`,
    `  cd ${shown(folder)}\n`,
    "  npm install\n",
    "  npm test\n",
    "  npx millrace dev\n",
    `\n${colour.dim("and in another terminal")}\n`,
    "  npx millrace send --fixture invoice\n",
  ].join("");
}

function shown(folder: string): string {
  const fromHere = relative(process.cwd(), folder);
  return fromHere.startsWith("..") ? folder : fromHere;
}
