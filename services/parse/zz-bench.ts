import { mkdtemp } from "node:fs/promises"; import { tmpdir } from "node:os"; import { join } from "node:path";
import { newMessageId } from "@millrace/mail"; import { defaultParseLimits } from "@millrace/mime";
import { openIntake, openPipeline, startWorker } from "@millrace/pipeline"; import { createLogger } from "@millrace/service";
import { startRedis } from "@millrace/test/redis"; import { openParseThreads } from "./parse-threads.ts"; import { parseWorker } from "./parse-worker.ts"; import { manifestOf } from "./testing/spooled.ts";
const log = createLogger("t","silent"); const server = await startRedis(); const folder = await mkdtemp(join(tmpdir(),"b-"));
const pipeline = await openPipeline({ redisUrl: server.url, paths: { data: folder, redis: folder, mail: join(folder,"mail"), maildir: folder } }, log);
const n = 4000, T = Number(process.argv[2]), C = Number(process.argv[3]);
await pipeline.subscriptions.register("parse", ["message.received"]);
const intake = await openIntake(server.url, log); while (intake.unavailable()) await new Promise(r=>setTimeout(r,20));
const body = Buffer.from("Received: from x by y\r\nFrom: Ann <ann@example.com>\r\nTo: Bob <bob@example.com>\r\nSubject: hello\r\nMessage-ID: <abc@example.com>\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + "Hello world, this is a line of text.\r\n".repeat(16));
const ids: string[] = []; for (let i=0;i<n;i+=200) ids.push(...await Promise.all(Array.from({length:200}, async () => { const id = newMessageId(); const d = intake.draft(id); await d.write(body); await intake.accept(d, manifestOf(id, body)); return id; })));
const threads = openParseThreads({ redisUrl: server.url, threads: T, timeout: 30000, heapMb: 256, limits: defaultParseLimits });
await Promise.all(Array.from({length:T*20}, () => threads.parse(ids[0] as string, body.length)));
const t = performance.now(); const cpu = process.cpuUsage();
const worker = await startWorker(parseWorker({ threads, spool: pipeline.spool, concurrency: C }), pipeline);
for (;;) { if ((await pipeline.redis.exists(`millrace:{0}:parsed:${ids[n-1]}`)) ) break; await new Promise(r=>setTimeout(r,10)); }
await worker.stop(); const c = process.cpuUsage(cpu);
console.log("threads",T,"concurrency",C,(n/((performance.now()-t)/1000)).toFixed(0),"msg/s", "cpu ms/msg", ((c.user+c.system)/1000/n).toFixed(3));
await threads.close(); await intake.close(); await pipeline.close(); await server.stop();
