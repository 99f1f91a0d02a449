import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";

/** A TCP proxy before a Redis that can lose what Redis answers. */
export class RedisProxy {
  readonly url: string;
  private readonly server: Server;
  private readonly links = new Set<Link>();

  private constructor(server: Server) {
    this.server = server;
    this.url = `redis://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  /** @param path the Redis's unix socket */
  static async open(path: string): Promise<RedisProxy> {
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    const proxy = new RedisProxy(server);
    server.on("connection", (client) => {
      const link = new Link(client, connect(path));
      proxy.links.add(link);
      client.once("close", () => proxy.links.delete(link));
    });
    return proxy;
  }

  /**
   * Lets every open connection pass so many more octets of answers, and then resets it: what Redis was asked, it has
   * done or is doing, and nobody is told.
   * @param octets of each connection that are still passed on, in the order in which they were opened
   */
  loseReplies(octets: () => number): number {
    for (const link of this.links) link.loseAfter(octets());
    return this.links.size;
  }

  async close(): Promise<void> {
    for (const link of this.links) link.end();
    this.server.close();
    await once(this.server, "close");
  }
}

/** Milliseconds between the first answer that is lost and the reset: what is asked meanwhile is still done. */
const deafFor = 150;

/** One client's connection. */
class Link {
  private readonly client: Socket;
  private readonly redis: Socket;
  private left = Number.POSITIVE_INFINITY;

  constructor(client: Socket, redis: Socket) {
    this.client = client;
    this.redis = redis;
    client.setNoDelay(true);
    for (const socket of [client, redis]) {
      socket.on("error", () => {});
      socket.on("close", () => this.end());
    }
    client.on("data", (data) => void redis.write(data));
    redis.on("data", (data: Buffer) => this.answer(data));
  }

  loseAfter(octets: number): void {
    this.left = octets;
  }

  end(): void {
    this.client.resetAndDestroy();
    this.redis.destroy();
  }

  private answer(data: Buffer): void {
    if (this.left <= 0) return;
    this.client.write(data.subarray(0, Math.min(data.length, this.left)));
    this.left -= data.length;
    if (this.left <= 0) setTimeout(() => this.end(), deafFor).unref();
  }
}
