/** What a firewall is to do for edges and their proxy. */
export interface FirewallPlan {
  /** Ports that everybody may reach. */
  open: number[];
  /** Ports of edges and of their health: for `from` alone. */
  inner: number[];
  /** Addresses and networks of the proxies; this machine itself always may. */
  from: string[];
}

const intro = (why: string[]) => [
  "# Edges believe the PROXY header of whoever may reach them: that must be nobody but the proxies. Where all of it is on",
  "# one machine, let edges listen on 127.0.0.1, and the first of these two matters no more.",
  ...why.map((line) => `# ${line}`),
];

const split = ({ from }: FirewallPlan) => ({
  v4: from.filter((each) => !each.includes(":")),
  v6: from.filter((each) => each.includes(":")),
});

/** For nft -f. */
export function nftables(plan: FirewallPlan): string {
  const { v4, v6 } = split(plan);
  return text([
    ...intro([
      "A table of its own, which may be loaded again and again: nft -f <this file>. To keep it, include it in",
      "/etc/nftables.conf. A table that drops by default must accept the open ports as well: nothing here can.",
    ]),
    "table inet millrace",
    "delete table inet millrace",
    "table inet millrace {",
    "    chain input {",
    "        type filter hook input priority filter - 5; policy accept;",
    '        iifname "lo" accept',
    `        tcp dport { ${plan.open.join(", ")} } accept`,
    ...(v4.length
      ? [`        ip saddr { ${v4.join(", ")} } tcp dport { ${plan.inner.join(", ")} } accept`]
      : []),
    ...(v6.length
      ? [`        ip6 saddr { ${v6.join(", ")} } tcp dport { ${plan.inner.join(", ")} } accept`]
      : []),
    `        tcp dport { ${plan.inner.join(", ")} } drop`,
    "    }",
    "}",
  ]);
}

/** A script for sh: IPv4 and IPv6 have a program each. */
export function iptables(plan: FirewallPlan): string {
  const { v4, v6 } = split(plan);
  const rules = (from: string[]) => [
    "*filter",
    "# Emptied here when it is there already.",
    ":MILLRACE - [0:0]",
    "-A MILLRACE -i lo -j RETURN",
    `-A MILLRACE -p tcp -m multiport --dports ${plan.open.join(",")} -j ACCEPT`,
    ...from.map(
      (each) => `-A MILLRACE -s ${each} -p tcp -m multiport --dports ${plan.inner.join(",")} -j ACCEPT`,
    ),
    `-A MILLRACE -p tcp -m multiport --dports ${plan.inner.join(",")} -j DROP`,
    "COMMIT",
  ];
  const load = (family: string, from: string[]) => [
    `${family}-restore --noflush <<'RULES'`,
    ...rules(from),
    "RULES",
    "# In front of rules that are there already: behind one that accepts, it would never be asked.",
    `${family} -C INPUT -j MILLRACE 2> /dev/null || ${family} -I INPUT 1 -j MILLRACE`,
  ];
  return text([
    "#!/bin/sh",
    ...intro([
      "A chain of its own, which may be loaded again and again. Gone after a restart of the machine: keep it with",
      "iptables-persistent (netfilter-persistent save).",
    ]),
    "set -eu",
    ...load("iptables", v4),
    "# IPv6 has rules of its own: without them its ports stay open.",
    ...load("ip6tables", v6),
  ]);
}

/** A script for sh. */
export function ufw({ open, inner, from }: FirewallPlan): string {
  return text([
    "#!/bin/sh",
    ...intro([
      "The first rule that fits counts, so what is allowed stands before what is denied. ufw enable makes it count.",
    ]),
    "set -eu",
    ...open.map((port) => `ufw allow ${port}/tcp comment 'millrace: mail'`),
    ...from.map(
      (each) =>
        `ufw allow proto tcp from ${each} to any port ${inner.join(",")} comment 'millrace: from a proxy'`,
    ),
    `ufw deny proto tcp to any port ${inner.join(",")} comment 'millrace: for proxies alone'`,
  ]);
}

/** A script for sh. */
export function firewalld({ open, inner, from }: FirewallPlan): string {
  const rich = (rule: string) => `firewall-cmd --permanent --add-rich-rule='${rule}'`;
  return text([
    "#!/bin/sh",
    ...intro([
      "For the default zone. A zone refuses what it does not name, so edges need no rule that denies.",
    ]),
    "set -eu",
    ...open.map((port) => `firewall-cmd --permanent --add-port=${port}/tcp`),
    ...from.flatMap((each) =>
      inner.map((port) =>
        rich(
          `rule family="${each.includes(":") ? "ipv6" : "ipv4"}" source address="${each}" port port="${port}" protocol="tcp" accept`,
        ),
      ),
    ),
    "firewall-cmd --reload",
  ]);
}

function text(lines: string[]): string {
  return `${lines.join("\n")}\n`;
}
