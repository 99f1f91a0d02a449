import { SMTPServer } from "smtp-server";

/** smtp-server with nothing behind it: what our edge would do if it kept no mail. A process of its own, like the edge. */
const server = new SMTPServer({
  disabledCommands: ["AUTH", "STARTTLS"],
  disableReverseLookup: true,
  logger: false,
  onData(stream, _session, callback) {
    stream.resume().on("end", () => callback());
  },
});
server.on("error", () => {});
server.listen(Number(process.argv[2]), "127.0.0.1");
