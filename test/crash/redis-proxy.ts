import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";

/** A TCP proxy before a Redis that can lose what Redis answers, or half of what it is asked. */
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
    for (const link of this.links) link.answersLeft = octets();
    return this.links.size;
  }

  /** The same for what Redis is asked: a command arrives in part, and never as a whole. */
  cutRequests(octets: () => number): number {
    for (const link of this.links) link.requestsLeft = octets();
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

/** One client's connection, and how many octets it still passes on in either direction. */
class Link {
  answersLeft = Number.POSITIVE_INFINITY;
  requestsLeft = Number.POSITIVE_INFINITY;
  private readonly client: Socket;
  private readonly redis: Socket;

  constructor(client: Socket, redis: Socket) {
    this.client = client;
    this.redis = redis;
    client.setNoDelay(true);
    for (const socket of [client, redis]) {
      socket.on("error", () => {});
      socket.on("close", () => this.end());
    }
    client.on("data", (data: Buffer) => this.ask(data));
    redis.on("data", (data: Buffer) => this.answer(data));
  }

  end(): void {
    this.client.resetAndDestroy();
    this.redis.destroy();
  }

  private ask(data: Buffer): void {
    if (this.requestsLeft <= 0) return;
    const passed = data.subarray(0, this.requestsLeft);
    this.requestsLeft -= data.length;
    // Redis must have them before it hears of the end.
    this.redis.write(passed, () => this.requestsLeft <= 0 && this.end());
  }

  private answer(data: Buffer): void {
    if (this.answersLeft <= 0) return;
    this.client.write(data.subarray(0, this.answersLeft));
    this.answersLeft -= data.length;
    if (this.answersLeft <= 0) setTimeout(() => this.end(), deafFor).unref();
  }
}
