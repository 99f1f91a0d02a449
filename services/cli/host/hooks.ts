/** What a deploy hook is made of; paths are absolute and need no quoting. */
export interface HookPlan {
  hostname: string;
  /** Where the certificate goes: HAProxy's PEM file, or the edges' folder. */
  target: string;
  /** HAProxy's stats socket. */
  socket: string;
  /** Group that may read the edges' key. */
  group: string;
}

const start = (what: string, { hostname }: HookPlan) => [
  "#!/bin/sh",
  `# certbot deploy hook: ${what}`,
  "# Put it into /etc/letsencrypt/renewal-hooks/deploy (chmod 755): certbot runs what is there after a renewal that",
  "# succeeded. What is in post/ runs after one that failed, too.",
  "set -eu",
  "# certbot runs the hook for each certificate of the machine.",
  "# Set by certbot: the folder with fullchain.pem and privkey.pem.",
  "lineage=$RENEWED_LINEAGE",
  `[ "$(basename "$lineage")" = ${hostname} ] || exit 0`,
  "# The key is for those alone who are named below, from its first octet on.",
  "umask 077",
];

/** One PEM file, put into place at once, and into the HAProxy that runs: sessions go on. */
export function haproxyHook(plan: HookPlan): string {
  return lines([
    ...start("certificate and key for HAProxy", plan),
    `pem=\${HAPROXY_PEM:-${plan.target}}`,
    `socket=\${HAPROXY_SOCKET:-${plan.socket}}`,
    'mkdir -p "$(dirname "$pem")"',
    "# Without blank lines: HAProxy's socket takes one for the end of the certificate.",
    'sed "/^[[:space:]]*$/d" "$lineage/fullchain.pem" "$lineage/privkey.pem" > "$pem.new"',
    "# Key and certificate must be a pair: HAProxy would not start again with another one.",
    'if [ "$(openssl x509 -in "$pem.new" -noout -pubkey)" != "$(openssl pkey -in "$pem.new" -pubout)" ]; then',
    '  rm -f "$pem.new"',
    '  echo "$lineage: key and certificate are no pair; $pem is as it was" >&2',
    "  exit 1",
    "fi",
    'mv -f "$pem.new" "$pem"',
    "# Not running, or without its socket: it reads the file when it starts.",
    '[ -S "$socket" ] || { echo "no socket $socket: HAProxy reads $pem when it is reloaded" >&2; exit 0; }',
    "if ! command -v socat > /dev/null; then",
    "  # Without socat by a reload: the old process goes on with its sessions.",
    "  exec systemctl reload haproxy",
    "fi",
    'said=$(printf "set ssl cert %s <<\\n%s\\n\\n" "$pem" "$(cat "$pem")" | socat -t5 - "UNIX-CONNECT:$socket"',
    '       printf "commit ssl cert %s\\n" "$pem" | socat -t5 - "UNIX-CONNECT:$socket")',
    "case $said in",
    "  *Success!*) ;;",
    '  *) echo "HAProxy refused the certificate: $said" >&2; exit 1 ;;',
    "esac",
  ]);
}

/** nginx reads certbot's own files. */
export function nginxHook(plan: HookPlan): string {
  return lines([
    ...start("nginx reads the certificate again", plan),
    "# It reads certbot's own files, but at a reload alone. Sessions go on with the old worker processes.",
    "nginx -t -q",
    "if systemctl is-active --quiet nginx 2> /dev/null; then systemctl reload nginx; else nginx -s reload; fi",
  ]);
}

/** Certificate and key for edges, changed together by one symbolic link. */
export function edgeHook(plan: HookPlan): string {
  return lines([
    ...start("certificate and key for edges that end TLS themselves", plan),
    "# The edges' configuration has: cert: <folder>/current/fullchain.pem, key: <folder>/current/privkey.pem",
    `folder=\${MILLRACE_TLS:-${plan.target}}`,
    `group=\${MILLRACE_GROUP:-${plan.group}}`,
    "# Edges read both files anew within two seconds. They change together, by one link: there is no moment with a new",
    "# certificate and an old key.",
    "next=$(date -u +%Y%m%dT%H%M%SZ).$$",
    '(umask 022; mkdir -p "$(dirname "$folder")")',
    'mkdir -p "$folder/$next"',
    'cp "$lineage/fullchain.pem" "$lineage/privkey.pem" "$folder/$next/"',
    'chgrp -R "$group" "$folder/$next"',
    'chmod 750 "$folder/$next"',
    'chmod 640 "$folder/$next/fullchain.pem" "$folder/$next/privkey.pem"',
    'chgrp "$group" "$folder"',
    'chmod 750 "$folder"',
    'last=$(readlink "$folder/current" || true)',
    'ln -s "$next" "$folder/current.$$"',
    'mv -T "$folder/current.$$" "$folder/current"',
    "# The one before stays, for an edge that is just reading it; those before it go.",
    'for old in "$folder"/*T*Z.*; do',
    '  case $(basename "$old") in "$next" | "$last") ;; *) rm -rf "$old" ;; esac',
    "done",
  ]);
}

function lines(all: string[]): string {
  return `${all.join("\n")}\n`;
}
