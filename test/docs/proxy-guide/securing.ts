import assert from "node:assert/strict";
import type { Step } from "./step.ts";

const forgetRules = `
for each in iptables ip6tables; do
  for chain in INPUT FORWARD OUTPUT; do $each -P $chain ACCEPT; done
  $each -F
  $each -X
done
nft flush ruleset
`;

/** Firewalls, TLS and limits. */
export const securing: Step[] = [
  {
    block: "nftables",
    undo: forgetRules,
    test: "nftables: the rules are loaded, and mail comes in",
    check: async (_, guide) => {
      assert.match(await guide.ran("nft list table inet millrace"), /tcp dport \{ 465, 587 \} accept/);
      await guide.deliversThroughBoth("127.0.0.79");
    },
  },
  {
    block: "iptables",
    undo: forgetRules,
    test: "iptables: the rules are loaded for IPv4 and IPv6",
    check: async (_, guide) => {
      for (const program of ["iptables", "ip6tables"])
        assert.match(await guide.ran(`${program} -S`), /dports? .*2525/);
    },
  },
  {
    block: "ufw",
    undo: `ufw --force disable\n${forgetRules}`,
    test: "ufw: ports of the edges are closed, mail ports open",
    check: async (_, guide) =>
      assert.match(await guide.ran("ufw status"), /465\/tcp +ALLOW[\s\S]*2525,9525\/tcp +DENY/),
  },
  {
    block: "firewalld",
    undo: `systemctl stop firewalld\n${forgetRules}`,
    test: "firewalld: mail ports are open",
    check: async (_, guide) => {
      assert.match(await guide.ran("firewall-cmd --list-ports"), /465\/tcp 587\/tcp/);
      await guide.deliversThroughBoth("127.0.0.80");
    },
  },
  {
    block: "tls-old",
    test: "TLS 1.1 is refused by the proxy",
    status: 1,
    check: (said) => assert.match(said, /alert protocol version/),
  },
  {
    block: "limits",
    test: "limits for all edges are settings, and edges take them",
    check: async (_, guide) => {
      await guide.ran(
        "curl -fsS --retry 30 --retry-connrefused --retry-delay 1 http://127.0.0.1:9527/readyz",
      );
      await guide.allEdgesUp();
      assert.match(await guide.told("millrace config"), /SMTP_LIMIT_CONNECTIONS_PER_CLIENT\W+50/);
      await guide.deliversThroughBoth("127.0.0.81");
    },
  },
  {
    block: "per-ip",
    test: "HAProxy's table of addresses",
    check: (said) => assert.match(said, /table: per_ip[\s\S]*key=::ffff:127\.0\.0\.81 .*conn_cur=/),
  },
];
