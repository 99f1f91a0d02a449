import { execFileSync } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import {
  accept,
  type Decision,
  defer,
  definePolicy,
  type PolicyContext,
  type PolicyTransaction,
  reject,
  tag,
} from "@millrace/pipeline";

type Deed = (transaction: PolicyTransaction, ctx: PolicyContext) => unknown;

const kept: unknown[] = [];

/** What a policy may do, good and bad, by the name a test gives in the sender's address. */
const deeds: Record<string, Deed> = {
  reject: () => reject(554, "5.7.9 Not wanted"),
  defer: () => defer(450, "Come again"),
  hangup: () => defer(421, "Go away"),
  tag: ({ on }) => tag("suspicious", `at-${on}`),
  two: () => reject(550, `first\r\n250 2.0.0 Ok: queued as FORGED\r\n${"x".repeat(2_000)}`),
  later: async () => {
    await sleep(300);
    return accept();
  },
  seconds: async () => {
    await sleep(2_500);
    return accept();
  },
  tell: (transaction, ctx) => {
    ctx.log.warn({ transaction }, "asked");
    return accept();
  },
  throw: () => {
    throw new RangeError("a bug of mine");
  },
  cry: () => Promise.reject("no Error at all"),
  rubbish: () => ({ decision: "perhaps" }),
  nothing: () => undefined,
  wrongcode: () => reject(250, "Ok"),
  never: (_, ctx) => {
    ctx.signal.addEventListener("abort", () => ctx.log.warn("aborted"));
    return new Promise<Decision>(() => {});
  },
  hang: () => {
    for (;;);
  },
  stand: () => {
    execFileSync("sleep", ["6"]);
    return accept();
  },
  exit: () => process.exit(1),
  exitlater: () => {
    setTimeout(() => process.exit(1), 10);
    return new Promise<Decision>(() => {});
  },
  heap: () => {
    for (;;) kept.push(new Array(1_000).fill(kept.length));
  },
  buffers: () => {
    for (;;) kept.push(Buffer.alloc(1_000_000, 1));
  },
  flood: (_, ctx) => {
    for (let line = 0; ; line++) ctx.log.warn({ line }, "flood");
  },
};

/** `<deed>.<stage>@…` as the sender does the deed at that stage; whoever else sends is accepted. */
export default definePolicy({
  name: "trouble",
  on: ["mail", "rcpt", "data"],
  timeout: "1500ms",
  decide(transaction, ctx) {
    const [deed = "", stage] = transaction.from.split("@")[0]?.split(".") ?? [];
    const act = deeds[deed];
    return act && stage === transaction.on ? (act(transaction, ctx) as Decision) : accept();
  },
});
