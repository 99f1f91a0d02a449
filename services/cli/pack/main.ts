import { relative, resolve } from "node:path";
import { parseArgs } from "node:util";
import { type PackedSdk, packSdk, tarballIn } from "./pack-sdk.ts";
import { isUpToDate } from "./up-to-date.ts";

const root = resolve(import.meta.dirname, "../../..");
const help = `usage: npm run pack:sdk -- [--out DIR] [--json | --if-needed]

Builds the installable tarball of @millrace/pipeline: the SDK with all of Millrace inside, compiled, and the command.

  --out DIR   folder for the tarball (default: dist, in the workspace)
  --json      print what was made as JSON: file, version, integrity, packages, dependencies, files
  --if-needed make it only when a source is newer; print the tarball's path and nothing else
  --help      print this
`;

const usageStatus = 64;

try {
  const { values } = parseArgs({
    options: {
      out: { type: "string" },
      json: { type: "boolean" },
      "if-needed": { type: "boolean" },
      help: { type: "boolean" },
    },
  });
  const out = values.out === undefined ? resolve(root, "dist") : resolve(values.out);
  if (values.help) process.stdout.write(help);
  else if (values["if-needed"]) {
    const file = tarballIn(root, out);
    if (!isUpToDate(root, file)) packSdk(root, out);
    process.stdout.write(`${file}\n`);
  } else {
    const made = packSdk(root, out);
    process.stdout.write(values.json ? `${JSON.stringify(made, null, 2)}\n` : inWords(made));
  }
} catch (error) {
  const { code, message } = error as NodeJS.ErrnoException;
  const misused = code?.startsWith("ERR_PARSE_ARGS");
  process.stderr.write(`pack:sdk: ${message}\n${misused ? help : ""}`);
  process.exitCode = misused ? usageStatus : 1;
}

function inWords({ file, size, files, packages, dependencies }: PackedSdk): string {
  const needed = Object.entries(dependencies).map(([name, version]) => `${name} ${version}`);
  return [
    `${relative(process.cwd(), file)}  ${Math.ceil(size / 1024)} KiB, ${files.length} files`,
    `  with     ${packages.join(", ")}`,
    `  needs    ${needed.join(", ")}`,
    `  install  npm install ${file}\n`,
  ].join("\n");
}
