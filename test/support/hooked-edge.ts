import { join } from "node:path";
import { Installation } from "./millrace.ts";

/**
 * An edge with a listener behind a proxy, and one with TLS of its own and the certificate that certbot's hook puts there.
 * @param tls the folder that the hook is printed for
 */
export function hookedEdge(hostname: string, tls: string, env: Record<string, string> = {}): Installation {
  return new Installation({
    config: {
      hostname,
      listeners: [
        { name: "behind-tls", port: 0, tls: "proxy", proxyProtocol: { from: "127.0.0.1" } },
        {
          name: "native",
          port: 0,
          tls: "implicit",
          cert: join(tls, "current/fullchain.pem"),
          key: join(tls, "current/privkey.pem"),
        },
      ],
    },
    env,
  });
}
