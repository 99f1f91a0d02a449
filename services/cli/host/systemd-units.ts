/** What the units are made of. */
export interface UnitPlan {
  /** Folder with node_modules and the configuration; absolute. */
  folder: string;
  /** System user that everything runs as. */
  user: string;
  /** Seconds an edge that is to stop goes on, until its balancer has noticed. */
  drainSeconds: number;
}

/** Everything for /etc, by its path there. */
export function systemdFiles(plan: UnitPlan): Record<string, string> {
  return {
    "systemd/system/millrace-edge@.service": edgeUnit(plan),
    "systemd/system/millrace-worker@.service": workerUnit(plan),
    "sysusers.d/millrace.conf": sysusers(plan),
    "millrace/millrace.env": environment(),
    "sysctl.d/60-millrace.conf": sysctl(),
  };
}

/** Longest an edge takes to stop beside its drain: 15 s for final dots, 14 s for replies, and its policies. */
const stopSeconds = 60;

function edgeUnit(plan: UnitPlan): string {
  return unit(
    [
      "# One SMTP edge; the number is its EDGE_NUMBER: systemctl enable --now millrace-edge@1 millrace-edge@2",
      "[Unit]",
      "Description=Millrace SMTP edge %i",
    ],
    plan,
    [
      "Environment=EDGE_NUMBER=%i",
      "# Longer than the balancer needs to notice /readyz.",
      `Environment=SMTP_DRAIN_SECONDS=${plan.drainSeconds}`,
      "# Less memory and more messages: what comes in is garbage soon.",
      "Environment=NODE_OPTIONS=--max-semi-space-size=4",
      `ExecStart=${command(plan)} edge`,
      "# Reads certificates again; sessions go on.",
      "ExecReload=/bin/kill -HUP $MAINPID",
      "# SMTP_DRAIN_SECONDS, then the messages under way; who is killed earlier leaves clients without a reply.",
      `TimeoutStopSec=${plan.drainSeconds + stopSeconds}`,
      "# Ports below 1024 as well: to be without a proxy, remove this and the empty bounding set below, and put",
      "# CAP_NET_BIND_SERVICE into both.",
      "AmbientCapabilities=",
    ],
  );
}

function workerUnit(plan: UnitPlan): string {
  return unit(
    [
      "# One worker: systemctl enable --now millrace-worker@parse millrace-worker@store millrace-worker@deliver",
      "# One of your own, from a file in the folder: millrace-worker@invoices.ts",
      "[Unit]",
      "Description=Millrace worker %I",
    ],
    plan,
    [
      `ExecStart=${command(plan)} worker %I`,
      "# Jobs under way are finished; what is not is given back, and done by another worker.",
      "TimeoutStopSec=60",
    ],
  );
}

function command({ folder }: UnitPlan): string {
  return `${folder}/node_modules/.bin/millrace`;
}

function unit(head: string[], { folder, user }: UnitPlan, service: string[]): string {
  return `${[
    ...head,
    "# Redis may be on another machine: then this does nothing.",
    "After=network-online.target redis-server.service",
    "Wants=network-online.target",
    "# Starts again for as long as it takes: a Redis that is away for an hour comes back.",
    "StartLimitIntervalSec=0",
    "",
    "[Service]",
    "Type=exec",
    `User=${user}`,
    `Group=${user}`,
    `WorkingDirectory=${folder}`,
    "# The Node that was installed with it stands in this folder.",
    `Environment=PATH=${folder}/node_modules/.bin:/usr/local/bin:/usr/bin:/bin`,
    "Environment=MILLRACE_DATA_DIR=/var/lib/millrace",
    "EnvironmentFile=/etc/millrace/millrace.env",
    ...service,
    "KillSignal=SIGTERM",
    "Restart=always",
    "RestartSec=2",
    "# A wrong configuration (sysexits 78) does not get better by another start.",
    "RestartPreventExitStatus=78",
    "LimitNOFILE=65536",
    "",
    "# The one folder that it may write to; made, and given to the user, at the start.",
    "StateDirectory=millrace",
    "StateDirectoryMode=0750",
    "UMask=0027",
    "ProtectSystem=strict",
    "ProtectHome=yes",
    "PrivateTmp=yes",
    "PrivateDevices=yes",
    "ProtectProc=invisible",
    "ProtectClock=yes",
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes",
    "ProtectControlGroups=yes",
    "NoNewPrivileges=yes",
    "CapabilityBoundingSet=",
    "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "LockPersonality=yes",
    "RemoveIPC=yes",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service",
    "SystemCallFilter=~@privileged @resources",
    "SystemCallErrorNumber=EPERM",
    "# Not MemoryDenyWriteExecute: JavaScript is compiled while it runs.",
    "",
    "[Install]",
    "WantedBy=multi-user.target",
  ].join("\n")}\n`;
}

function sysusers({ user }: UnitPlan): string {
  return `${["# systemd-sysusers makes the user.", `u ${user} - "Millrace" /var/lib/millrace`].join("\n")}\n`;
}

function environment(): string {
  return `${[
    "# Settings of all units: the README's table. A comment has a line of its own: behind a value it would be part of it.",
    "# The edges' listeners, routes and policies: millrace.config.yaml in the working folder, or MILLRACE_CONFIG.",
    "REDIS_URL=redis://127.0.0.1:6379",
    "# Edge 1 listens here, edge 2 on the next port; HEALTH_PORT is counted in the same way.",
    "SMTP_HOST=127.0.0.1",
    "SMTP_PORT=2525",
    "# TLS ends at a proxy, which says with a PROXY header who the client is. `listeners` of the configuration file replace",
    "# these four.",
    "SMTP_TLS_MODE=proxy",
    "SMTP_PROXY_PROTOCOL_FROM=127.0.0.1",
    "HEALTH_PORT=9525",
  ].join("\n")}\n`;
}

function sysctl(): string {
  return `${[
    "# Read at the start of the machine, and by: sysctl --system",
    "# Connections that nobody has accepted yet: a burst waits instead of being refused.",
    "net.core.somaxconn = 4096",
    "net.ipv4.tcp_max_syn_backlog = 8192",
    "# A flood of beginnings of connections takes no memory.",
    "net.ipv4.tcp_syncookies = 1",
    "# Redis forks to rewrite its file; without this the kernel may refuse, and Redis then takes no more writes.",
    "vm.overcommit_memory = 1",
    "# Room for what a proxy opens to its edges. The range must not reach down to ports that services listen on.",
    "net.ipv4.ip_local_port_range = 16384 60999",
    "# Sockets of clients that vanished are found out within ten minutes, not two hours.",
    "net.ipv4.tcp_keepalive_time = 600",
  ].join("\n")}\n`;
}
