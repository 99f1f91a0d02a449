import assert from "node:assert/strict";
import test from "node:test";
import { z } from "zod";
import { ConfigError } from "./config.ts";
import { workerConfig } from "./worker-config.ts";

const schema = z.object({
  folder: z.string().default("./out"),
  maxPages: z.number().int().default(3),
  types: z.array(z.string()).default([]),
  token: z.string().optional(),
});
const file = "/srv/millrace.config.yaml";

function problemsOf(action: () => unknown): readonly string[] {
  try {
    action();
  } catch (error) {
    assert.ok(error instanceof ConfigError);
    return error.problems;
  }
  assert.fail("nothing was wrong");
}

test("file, defaults and environment make one configuration; the environment wins", () => {
  const workers = { "save-invoices": { folder: "/a", maxPages: 5 } };
  const env = {
    SAVE_INVOICES_MAX_PAGES: "7",
    SAVE_INVOICES_TYPES: '["application/pdf"]',
    SAVE_INVOICES_TOKEN: "123",
  };
  assert.deepEqual(workerConfig("save-invoices", schema, { workers, file }, env), {
    folder: "/a",
    maxPages: 7,
    types: ["application/pdf"],
    // The schema takes text, so text it is.
    token: "123",
  });
  assert.deepEqual(workerConfig("save-invoices", schema, { workers: {}, file: undefined }, {}), {
    folder: "./out",
    maxPages: 3,
    types: [],
  });
  assert.equal(workerConfig("other", undefined, { workers, file }, env), undefined);
});

test("what is wrong is named, with its value and where to mend it; every problem at once, secrets hidden", () => {
  const env = { INVOICES_MAX_PAGES: "many" };
  const problems = problemsOf(() =>
    workerConfig(
      "invoices",
      schema.extend({ token: z.number() }),
      { workers: { invoices: { folder: 7, token: "geheim" } }, file },
      env,
    ),
  );
  assert.equal(problems.length, 3);
  assert.match(
    problems[0] ?? "",
    /^workers\.invoices\.folder = 7: .*expected string.*millrace\.config\.yaml, or set INVOICES_FOLDER$/,
  );
  assert.match(problems[1] ?? "", /^INVOICES_MAX_PAGES="many": .*expected number/);
  assert.match(problems[2] ?? "", /^workers\.invoices\.token = /);
  assert.doesNotMatch(problems.join(), /geheim/);
});

test("a variable that is a setting of the pipeline's own is not the worker's", () => {
  const config = workerConfig(
    "smtp",
    z.object({ port: z.number().default(1) }),
    { workers: {}, file: undefined },
    { SMTP_PORT: "2525" },
  );
  assert.deepEqual(config, { port: 1 });
});
