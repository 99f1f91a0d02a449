import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { freePort } from "./free-port.ts";
import { type ProxyProcess, serverPath, startProxy } from "./proxy-process.ts";

export interface SmallProxy extends ProxyProcess {
  port: number;
}

/** What a file for HAProxy begins with. */
export const haproxyDefaults = `defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
`;

// Each has a second port: what stands behind the first may be anything, and tell nothing of whether the proxy is there.

/**
 * HAProxy with one port before one server, set up as a test likes.
 * @param server address and options, as they stand in its line
 * @param options `pem`: certificate and key, for a port with TLS; `more`: further lines of the frontend
 */
export async function startHaproxy(
  folder: string,
  server: string,
  { pem = "", more = "" } = {},
): Promise<SmallProxy> {
  const [port, ready] = [await freePort(), await freePort()];
  const file = join(folder, `haproxy-${port}.cfg`);
  writeFileSync(
    file,
    `${haproxyDefaults}frontend smtp
    bind 127.0.0.1:${port}${pem && ` ssl crt ${pem}`}
    ${more}
    default_backend edge
backend edge
    server edge ${server}
frontend ready
    mode http
    bind 127.0.0.1:${ready}
    http-request return status 200
`,
  );
  execFileSync("haproxy", ["-c", "-f", file], { env: serverPath, stdio: "ignore" });
  return { ...(await startProxy(["haproxy", "-db", "-f", file], [ready])), port };
}

/**
 * nginx's stream module with one port before one server. Its workers run as somebody else, who must get into the folder.
 * @param more further settings of the server
 */
export async function startNginx(folder: string, server: string, more = ""): Promise<SmallProxy> {
  const [port, ready] = [await freePort(), await freePort()];
  const file = join(folder, `nginx-${port}.conf`);
  writeFileSync(
    file,
    `daemon off;
pid ${folder}/nginx-${port}.pid;
error_log stderr;
include /etc/nginx/modules-enabled/*.conf;
events {}
stream {
    server { listen 127.0.0.1:${port}; proxy_pass ${server}; ${more} }
    server { listen 127.0.0.1:${ready}; return ready; }
}
`,
  );
  return { ...(await startProxy(["nginx", "-e", "stderr", "-c", file], [ready])), port };
}
