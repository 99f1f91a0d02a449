import { once } from "node:events";
import { connect } from "node:net";

/** Whether somebody listens there: a port of this machine, or a socket's path. */
export async function listens(at: number | string): Promise<boolean> {
  const socket = typeof at === "number" ? connect(at, "127.0.0.1") : connect(at);
  try {
    await once(socket, "connect");
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
