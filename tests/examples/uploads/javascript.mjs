import { readFileSync } from "node:fs";
import OpenAI, { toFile } from "openai";

const client = new OpenAI({ baseURL: "http://localhost:3928/v1", apiKey: "none" });
const data = readFileSync("questions.jsonl");
const about = { filename: "questions.jsonl", mime_type: "application/jsonl", purpose: "batch" };
const upload = await client.uploads.create({ ...about, bytes: data.length });
const part_ids = [];
for (let begin = 0; begin < data.length; begin += 50) {
  const part = await toFile(data.subarray(begin, begin + 50), "part");
  part_ids.push((await client.uploads.parts.create(upload.id, { data: part })).id);
}
const done = await client.uploads.complete(upload.id, { part_ids });
console.log(done.status, done.file.id, done.file.bytes);

const other = await client.uploads.create({ ...about, bytes: 10 });
console.log((await client.uploads.cancel(other.id)).status);
