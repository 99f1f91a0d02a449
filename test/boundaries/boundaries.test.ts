import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { graphViolations, importViolations } from "./rules.ts";
import { readWorkspace } from "./workspace.ts";

const root = resolve(import.meta.dirname, "../..");

test("no source imports what the architecture forbids", () => {
  const workspace = readWorkspace(root);
  assert.ok(workspace.modules.length > 20, `only ${workspace.modules.length} sources were found`);
  assert.ok(workspace.projects.length >= 12, `only ${workspace.projects.length} projects were found`);
  assert.deepEqual(importViolations(workspace), []);
});

test("each forbidden import is found, in a workspace made of them", () => {
  const violations = importViolations(readWorkspace(join(import.meta.dirname, "fixtures")));
  assert.deepEqual(violations.sort(), [
    "libs/mail/circle-a.ts -> libs/mail/circle-b.ts -> libs/mail/circle-a.ts: circular import",
    "libs/mail/envelope.ts:1: imports @millrace/spool; libs/mail must not depend on libs/spool",
    "libs/mail/envelope.ts:2: imports @millrace/spool; libs/mail must not depend on libs/spool",
    "libs/spool/index.ts:2: imports bullmq; only libs/pipeline does",
    "libs/spool/index.ts:3: imports zod, which libs/spool/package.json does not declare",
    "libs/spool/index.ts:4: imports left-pad, which libs/spool/package.json does not declare",
    "libs/spool/index.ts:7: imports pino, which libs/spool/package.json does not declare",
    "services/edge/main.ts:1: imports @millrace/store; services/edge must not depend on services/store",
    "services/edge/main.ts:2: imports @millrace/spool/keys.ts, past the entry of @millrace/spool",
    "services/edge/main.ts:3: imports ../../libs/spool/keys.ts, outside services/edge; use the other's entry",
    "services/store/main.ts:10: reads process.env; only libs/service does",
    "services/store/main.ts:1: imports smtp-server; only services/edge does",
    "services/store/main.ts:2: reads process.env; only libs/service does",
    "services/store/main.ts:4: imports @millrace/test, past the entry of @millrace/test",
    "services/store/main.ts:6: reads process.env; only libs/service does",
    "services/store/main.ts:7: reads process.env; only libs/service does",
    "services/store/main.ts:8: reads process.env; only libs/service does",
  ]);
});

test("no project depends on one above or beside it, in Nx's own graph", async () => {
  const folder = mkdtempSync(join(tmpdir(), "millrace-graph-"));
  try {
    const file = join(folder, "graph.json");
    await promisify(execFile)(join(root, "node_modules/.bin/nx"), ["graph", `--file=${file}`], {
      cwd: root,
      env: { ...process.env, NX_DAEMON: "false" },
    });
    const { graph } = JSON.parse(readFileSync(file, "utf8")) as NxGraph;
    const { projects } = readWorkspace(root);
    const edges = Object.values(graph.dependencies)
      .flat()
      .map(({ source, target }) => ({
        from: rootOf(graph, source),
        to: rootOf(graph, target),
        dev: projects.find(({ name }) => name === source)?.devDependencies.has(target) ?? false,
      }));
    assert.ok(edges.length > 20, `only ${edges.length} edges were found`);
    assert.deepEqual(graphViolations(edges), []);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test("a dependency against the direction is found", () => {
  const dev = false;
  assert.deepEqual(
    graphViolations([
      { from: "libs/spool", to: "libs/mail", dev },
      { from: "libs/mail", to: "libs/spool", dev },
      { from: "libs/mime", to: "libs/pipeline", dev },
      { from: "services/edge", to: "services/store", dev },
      { from: "services/edge", to: "libs/pipeline", dev },
      { from: "libs/new", to: "libs/mail", dev },
      { from: "services/examples", to: "libs/pipeline", dev },
      { from: "services/examples", to: "libs/mail", dev },
      { from: "services/edge", to: "test", dev: true },
      { from: "services/edge", to: "test", dev },
    ]),
    [
      "libs/mail must not depend on libs/spool",
      "libs/mime must not depend on libs/pipeline",
      "services/edge must not depend on services/store",
      "libs/new must not depend on libs/mail",
      "services/examples must not depend on libs/mail",
      "services/edge must not depend on test",
    ],
  );
});

interface NxGraph {
  graph: {
    nodes: Record<string, { data: { root: string } }>;
    dependencies: Record<string, { source: string; target: string }[]>;
  };
}

function rootOf({ nodes }: NxGraph["graph"], name: string): string {
  return nodes[name]?.data.root ?? name;
}
