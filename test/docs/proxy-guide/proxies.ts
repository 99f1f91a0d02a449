import assert from "node:assert/strict";
import { readFileSync, realpathSync } from "node:fs";
import { resolve } from "node:path";
import { caddy, noCaddy } from "../../support/caddy.ts";
import { acmeOptions } from "./guide-machine.ts";
import type { Step } from "./step.ts";

const root = resolve(import.meta.dirname, "../../..");

/** The three proxies, one after the other. */
export const proxies: Step[] = [
  {
    block: "haproxy",
    test: "HAProxy: three edges behind 465 and 587, and the client's address in the journal",
    check: async (_, guide) => {
      await guide.deliversThroughBoth("127.0.0.71");
      await guide.allEdgesUp();
    },
  },
  {
    block: "haproxy-reload",
    test: "HAProxy: checked and reloaded",
    check: (_, guide) => guide.deliversThroughBoth("127.0.0.72"),
  },
  {
    block: "nginx",
    test: "nginx: three edges behind 465 and 587, and the client's address in the journal",
    check: (_, guide) => guide.deliversThroughBoth("127.0.0.73"),
  },
  {
    block: "nginx-reload",
    test: "nginx: checked and reloaded, and each session has its line in the log",
    check: async (said, guide) => {
      assert.match(
        said,
        /^127\.0\.0\.73:\d+ \[[^\]]+\] 200 out=\d+ in=\d+ t=[\d.]+ up=127\.0\.0\.1:25\d\d tls=TLS/m,
      );
      await guide.deliversThroughBoth("127.0.0.74");
    },
  },
  {
    block: "nginx-mail",
    test: "nginx's mail module: it ends both kinds of TLS",
    check: (_, guide) => guide.deliversThroughBoth("127.0.0.75"),
  },
  {
    block: "caddy-build",
    test: "Caddy is built with the caddy-l4 that the tests have",
    skip: noCaddy,
    instead: {
      why: "it needs Go's module proxy, and minutes; setup has built it in the same way, once",
      script: (text) => {
        const build = readFileSync(resolve(root, "services/cli/caddy-build.mjs"), "utf8");
        const version = /"caddy-l4": "(.*?)"/.exec(build)?.[1];
        assert.ok(text.includes(`caddy-l4@${version} `));
        return `install ${realpathSync(caddy)} /usr/local/bin/caddy`;
      },
    },
  },
  {
    block: "caddy",
    test: "Caddy: three edges behind 465 and 587, and a certificate it obtains itself",
    skip: noCaddy,
    instead: {
      why: "Let's Encrypt is out of reach: it asks an authority on this machine, and the rest is as it stands",
      script: (text) => text.replace("proxy caddy ", `proxy caddy ${acmeOptions} `),
    },
    check: (_, guide) => guide.deliversThroughBoth("127.0.0.76"),
  },
  {
    block: "caddy-reload",
    test: "Caddy: checked and reloaded",
    skip: noCaddy,
    check: (_, guide) => guide.deliversThroughBoth("127.0.0.77"),
  },
];
