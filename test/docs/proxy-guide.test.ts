import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { after, before, describe, test } from "node:test";
import { OwnMachine } from "../support/own-machine.ts";
import { type Block, blocksOf } from "./proxy-guide/blocks.ts";
import { GuideMachine } from "./proxy-guide/guide-machine.ts";
import { installing } from "./proxy-guide/installing.ts";
import { operating } from "./proxy-guide/operating.ts";
import { proxies } from "./proxy-guide/proxies.ts";
import { securing } from "./proxy-guide/securing.ts";
import type { Step } from "./proxy-guide/step.ts";

const blocks = blocksOf(readFileSync(resolve(import.meta.dirname, "../../docker/proxy-guide.md"), "utf8"));
const scripts = blocks.flatMap(({ name }) => name ?? []);
const steps = [...installing, ...proxies, ...operating, ...securing];
const { impossible } = OwnMachine;
if (impossible && process.env.CI) throw new Error(`the guide's commands cannot be run: ${impossible}`);

test("every script of the guide has its test, once", () => {
  assert.deepEqual(steps.map(({ block }) => block).toSorted(), scripts.toSorted());
  assert.equal(new Set(scripts).size, scripts.length);
});

describe("the guide to proxies, as it stands, on a machine of its own", { skip: impossible }, () => {
  const left: Block[] = [...blocks];
  /** The first that did not come to its end. */
  let failed: string | undefined;
  let guide: GuideMachine;
  before(async () => {
    guide = await GuideMachine.boot(blocks);
  });
  after(() => guide?.remove());

  /** Writes the files that stand before a script. */
  async function writtenUpTo(name: string): Promise<void> {
    for (let block = left.shift(); block && block.name !== name; block = left.shift())
      if (block.file)
        await guide.ran(
          `mkdir -p "$(dirname ${block.file})"\ncat > ${block.file} << 'END OF FILE'\n${block.text}END OF FILE\n`,
        );
  }

  async function run({ block, instead, settings, goesOn, status = 0 }: Step): Promise<string> {
    const script = instead?.script(guide.scriptOf(block)) ?? guide.scriptOf(block);
    if (goesOn) {
      await guide.started(block, script);
      return "";
    }
    const { text, status: ended } = await guide.run(settings ? guide.withSettings(script) : script);
    assert.equal(ended, status, text);
    return text;
  }

  for (const step of scripts.flatMap((name) => steps.find(({ block }) => block === name) ?? []))
    test(step.test, { skip: step.skip }, async () => {
      assert.equal(failed, undefined, "each builds on those before it");
      failed = step.block;
      await writtenUpTo(step.block);
      if (step.first) await guide.ran(step.first(guide));
      const said = await run(step);
      await step.check?.(said, guide);
      if (step.undo) await guide.ran(step.undo);
      failed = undefined;
    });
});
