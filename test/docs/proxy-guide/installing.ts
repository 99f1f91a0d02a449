import assert from "node:assert/strict";
import type { Step } from "./step.ts";

/** The quick start, and all that stands before a proxy. */
export const installing: Step[] = [
  {
    block: "quick-haproxy",
    test: "quick start with HAProxy: one command, and swaks delivers through both ports",
    goesOn: true,
    check: async (_, guide) =>
      assert.equal((await guide.ran(guide.scriptOf("quick-try"))).match(/queued as/g)?.length, 2),
  },
  {
    block: "quick-nginx",
    test: "quick start with nginx: one command",
    first: () => "systemctl stop quick-haproxy",
    goesOn: true,
  },
  {
    block: "quick-try",
    test: "quick start: swaks delivers through both ports",
    check: async (said, guide) => {
      assert.equal(said.match(/queued as/g)?.length, 2);
      await guide.ran("systemctl stop quick-nginx; rm -rf /opt/millrace/var");
    },
  },
  {
    block: "get",
    test: "what is installed in /opt/millrace is this workspace",
    instead: {
      why: "it needs the registry; this workspace, installed by npm ci, is in its place",
      script: () => "cd /opt/millrace && npx millrace --help",
    },
  },
  {
    block: "install",
    test: "Debian's packages, and a Redis that keeps what it was told",
    check: async (_, guide) =>
      assert.match(
        await guide.ran("redis-cli config get appendfsync; redis-cli config get appendonly"),
        /always[\s\S]*yes/,
      ),
  },
  {
    block: "systemd",
    test: "systemd takes the printed units, makes their user, and applies the kernel's settings",
    check: async (said, guide) => {
      assert.match(said, /no complaint[\s\S]*net\.core\.somaxconn = 4096/);
      assert.match(await guide.ran("id millrace; sysctl net.core.somaxconn"), /millrace[\s\S]*= 4096/);
    },
  },
  {
    block: "environment",
    test: "the listeners' settings leave the environment file",
    check: async (_, guide) =>
      assert.doesNotMatch(await guide.ran("cat /etc/millrace/millrace.env"), /^SMTP_(HOST|PORT|TLS)/m),
  },
  {
    block: "settings",
    test: "a shell with the units' settings reads the configuration",
    check: async (_, guide) =>
      assert.match(await guide.told("millrace config"), /mail\.example\.com[\s\S]*native/),
  },
  {
    block: "certificate",
    test: "certbot obtains the first certificate",
    check: async (_, guide) =>
      assert.match(
        await guide.ran(
          "openssl x509 -noout -issuer -in /etc/letsencrypt/live/mail.example.com/fullchain.pem",
        ),
        /Pebble/,
      ),
  },
  {
    block: "certbot-hook",
    test: "the hooks put the certificate where edges and HAProxy read it",
    check: async (_, guide) =>
      assert.match(
        await guide.ran(
          "stat -L -c '%a %G' /etc/haproxy/certs/mail.example.com.pem /etc/millrace/tls/mail.example.com/current/privkey.pem",
        ),
        /^600 root\n640 millrace\n$/,
      ),
  },
  {
    block: "certbot-rehearsal",
    test: "a rehearsal of the renewal succeeds, and changes nothing",
    check: async (said, guide) => {
      assert.match(said, /all simulated renewals succeeded/);
      assert.match(
        await guide.ran("ls /etc/letsencrypt/archive/mail.example.com"),
        /^cert1\.pem\n(?!.*2\.pem)/s,
      );
    },
  },
  {
    block: "start",
    test: "workers and three edges start, with the settings of the environment file as systemd reads it",
    check: async (said, guide) => {
      assert.match(said, /ready/);
      const environ = (edge: number) =>
        `tr '\\0' '\\n' < /proc/$(systemctl show --value --property MainPID millrace-edge@${edge})/environ`;
      assert.match(await guide.ran(environ(3)), /^SMTP_ENABLE_AUTH=true$/m);
      assert.match(await guide.ran(environ(3)), /^EDGE_NUMBER=3$/m);
    },
  },
  {
    block: "user",
    test: "a user, whose password is read from a file",
    settings: true,
    check: async (_, guide) => assert.match(await guide.told("millrace user list"), /ann.*\*@example\.com/),
  },
];
