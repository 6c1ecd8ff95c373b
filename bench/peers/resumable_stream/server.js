// resumable-stream behind Node's own HTTP server. One process of this has the original stream and takes the
// feed's commands on standard input; another one has the followers and is measured. In its favour: the
// generation's side is left out, and nothing stands between the library and the socket.

import http from "node:http";
import readline from "node:readline";
import { createClient } from "redis";
import { createResumableStreamContext } from "resumable-stream";

// A pace is kept by what is due since it began; a timer fires a little late every time.
const TICK_MS = 1;

const clients = ["publisher", "subscriber"].map(() => createClient({ url: process.env.TOKENTAIL_REDIS_URL }));
await Promise.all(clients.map((client) => client.connect()));
const [publisher, subscriber] = clients;
const context = createResumableStreamContext({ waitUntil: () => {}, publisher, subscriber });

const server = http.createServer(async (request, response) => {
  const stream = await context.resumeExistingStream(request.url.slice(1));
  response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-store" });
  response.flushHeaders();
  const reader = stream.getReader();
  response.on("close", () => reader.cancel());
  for (let { done, value } = await reader.read(); !done; { done, value } = await reader.read()) {
    response.write(value);
  }
  response.end();
});
server.listen({ port: 0, host: "127.0.0.1", backlog: 2048 }, () => {
  console.log(`resumable on http://127.0.0.1:${server.address().port}`);
});

let source = null;
let written = 0;

const commands = {
  async open() {
    const id = crypto.randomUUID();
    written = 0;
    const make = () => new ReadableStream({ start: (controller) => void (source = controller) });
    const original = await context.createNewResumableStream(id, make);
    original.pipeTo(new WritableStream());
    return [id];
  },

  async run({ rate, seconds }) {
    const total = Math.round(rate * seconds);
    const began = performance.now();
    for (let done = 0; done < total; ) {
      const due = Math.min(total, Math.floor(((performance.now() - began) / 1000) * rate) + 1);
      for (; done < due; done++) write();
      await new Promise((resolve) => setTimeout(resolve, TICK_MS));
    }
    return total;
  },

  async end() {
    source.close();
    return null;
  },
};

function write() {
  const data = `{"type":"delta","content":"${process.hrtime.bigint()}"}`;
  source.enqueue(`id: 1763881234567-${written++}\nevent: delta\ndata: ${data}\n\n`);
}

for await (const line of readline.createInterface({ input: process.stdin })) {
  const { do: deed, ...how } = JSON.parse(line);
  console.log(`did ${JSON.stringify(await commands[deed](how))}`);
}
process.exit(0);
