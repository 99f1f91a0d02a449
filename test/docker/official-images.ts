import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { caddy } from "../support/caddy.ts";
import type { Image } from "./image.ts";
import { emptyLayer } from "./root-folder.ts";

const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const plain: Image = { layers: [], env: { PATH }, workdir: "/", user: "0:0", entrypoint: [], cmd: [] };

/**
 * What stands in for official images: this machine's own programs, with what those images say of themselves
 * (their Dockerfiles in docker-library/haproxy, nginx/docker-nginx and redis/docker-library-redis).
 */
export const officialImages: Record<string, Image> = {
  haproxy: {
    ...plain,
    user: "99:99",
    workdir: "/var/lib/haproxy",
    entrypoint: ["haproxy", "-W", "-db"],
    cmd: ["-f", "/usr/local/etc/haproxy/haproxy.cfg"],
  },
  nginx: { ...plain },
  redis: { ...plain, workdir: "/data" },
};

/** Owner of folders of these images, which a new volume has from them. */
export const officialOwners: Record<string, Record<string, string>> = { redis: { "/data": "999:999" } };

/** Signal that ends a container, where an image says another one than SIGTERM. */
export const officialStopSignals: Record<string, string> = { haproxy: "SIGUSR1", nginx: "SIGQUIT" };

/**
 * Stands in for the images of Caddy, and for that which builds one with xcaddy (caddyserver/caddy-docker): what is built
 * there, is the Caddy that the tests have. Others of its files are this machine's.
 */
export function caddyImage(name: string, folder: string): Image {
  const layer = emptyLayer(folder);
  for (const each of ["usr/bin", "data/caddy", "config/caddy"])
    mkdirSync(join(layer, each), { recursive: true });
  if (name.endsWith("-builder")) {
    copyFileSync(caddy, join(layer, "built"));
    // It builds into the file that it is told last.
    const xcaddy = '#!/bin/sh\nfor last; do :; done\ncp /built "$last"\n';
    writeFileSync(join(layer, "usr/bin/xcaddy"), xcaddy, { mode: 0o755 });
    return { ...plain, layers: [layer], workdir: "/usr/bin" };
  }
  // One without caddy-l4: it does not do.
  writeFileSync(join(layer, "usr/bin/caddy"), "#!/bin/false\n", { mode: 0o755 });
  return {
    ...plain,
    layers: [layer],
    env: { PATH, XDG_CONFIG_HOME: "/config", XDG_DATA_HOME: "/data" },
    workdir: "/srv",
    cmd: ["caddy", "run", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile"],
  };
}
