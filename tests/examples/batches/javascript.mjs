import { createReadStream } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import OpenAI from "openai";

const client = new OpenAI({ baseURL: "http://localhost:3928/v1", apiKey: "none" });
const file = await client.files.create({ file: createReadStream("questions.jsonl"), purpose: "batch" });
const asked = { input_file_id: file.id, endpoint: "/v1/chat/completions", completion_window: "24h" };
let batch = await client.batches.create(asked);

while (!["completed", "failed", "expired", "cancelled"].includes(batch.status)) {
  await sleep(1000);
  batch = await client.batches.retrieve(batch.id);
}
console.log(batch.status, batch.request_counts);
console.log(await (await client.files.content(batch.output_file_id)).text());
console.log((await client.files.retrieve(batch.output_file_id)).bytes);
console.log((await client.batches.list()).data.length, (await client.files.list()).data.length);
await client.batches.cancel(batch.id); // too late: it has ended
console.log("deleted", (await client.files.delete(file.id)).deleted);
