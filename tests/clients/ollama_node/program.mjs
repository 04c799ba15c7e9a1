// Ollama's package: what its README shows.

import assert from "node:assert/strict";
import { Ollama } from "ollama";
import { z } from "zod";
import { run, says, step } from "./steps.mjs";

// what you change
const ollama = new Ollama({ host: process.env.NITRO_ROOT });
// end of what you change

const model = process.env.NITRO_MODEL;
const CAPITAL = [{ role: "user", content: says("Paris.") + "The capital of France is" }];
const CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo", "unit": "c"}}\n</tool_call>';
const ASKED = [{ role: "user", content: says(CALL) + "What is the weather in Oslo?" }];
const PERSON = [{ role: "user", content: says('{"name": "Anna", "age": 30}') + "Anna is 30 years old." }];
const THOUGHTFUL = [{ role: "user", content: says("I add.</think>Four.") + "2 + 2?" }];
const Person = z.object({ name: z.string().regex(/^[A-Z][a-z]{1,10}$/), age: z.number().int().min(0).max(120) });
const short = { model, options: { temperature: 0, num_predict: 16 } };
const long = { model, options: { temperature: 0, num_predict: 100 } };
const weather = {
  type: "function",
  function: {
    name: "weather",
    description: "The weather in a city.",
    parameters: {
      type: "object",
      required: ["city"],
      properties: { city: { type: "string" }, unit: { type: "string", enum: ["c", "f"] } },
    },
  },
};

const all = async (stream) => {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return parts;
};

step("`chat`", "scripted", "llama", "mlx", async () => {
  const reply = await ollama.chat({ ...short, messages: CAPITAL });
  assert.match(reply.message.content, /Paris/);
  assert.ok(reply.done && reply.prompt_eval_count > 0 && reply.eval_count > 1);
});

step("`chat`, streaming", "scripted", "llama", "mlx", async () => {
  const parts = await all(await ollama.chat({ ...short, messages: CAPITAL, stream: true }));
  assert.match(parts.map((part) => part.message.content).join(""), /Paris/);
  assert.ok(parts.length > 3 && parts.at(-1).done && parts.at(-1).done_reason);
});

step("a stream that is aborted", "llama", async () => {
  const stream = await ollama.chat({ ...long, messages: CAPITAL, stream: true });
  await assert.rejects(
    async () => {
      for await (const part of stream) if (!part.done) stream.abort();
    },
    { name: "AbortError" },
  );
  assert.match((await ollama.chat({ ...short, messages: CAPITAL })).message.content, /Paris/);
});

step("a tool and its result", "scripted", async () => {
  const reply = await ollama.chat({ ...long, messages: ASKED, tools: [weather] });
  const [call] = reply.message.tool_calls;
  assert.deepEqual(call.function.arguments, { city: "Oslo", unit: "c" });
  const result = { role: "tool", tool_name: call.function.name, content: says("It is cold.") };
  const next = await ollama.chat({ ...long, messages: [...ASKED, reply.message, result], tools: [weather] });
  assert.equal(next.message.content, "It is cold.");
});

step("`format` as a schema", "scripted", "llama", "mlx", async () => {
  const reply = await ollama.chat({ ...long, messages: PERSON, format: z.toJSONSchema(Person) });
  Person.parse(JSON.parse(reply.message.content));
});

step("`think`", "scripted", async () => {
  const reply = await ollama.chat({ ...long, messages: THOUGHTFUL, think: true });
  assert.deepEqual([reply.message.thinking, reply.message.content], ["I add.", "Four."]);
});

step("`generate`, whole and streaming", "scripted", "llama", async () => {
  const prompt = CAPITAL[0].content;
  assert.match((await ollama.generate({ ...short, prompt, raw: true })).response, /Paris/);
  const parts = await all(await ollama.generate({ ...short, prompt, system: "Be brief.", stream: true }));
  assert.ok(parts.map((part) => part.response).join("").length > 0);
});

step("`embed` and `embeddings`", "scripted", "llama", async () => {
  const { embeddings } = await ollama.embed({ model, input: ["Paris", "London"] });
  const { embedding } = await ollama.embeddings({ model, prompt: "Paris" });
  assert.equal(embeddings.length, 2);
  assert.equal(embeddings[0].length, embedding.length);
});

step("`list`, `show`, `ps` and `version`", "scripted", "llama", async () => {
  const [listed] = (await ollama.list()).models;
  assert.equal(listed.name, `${model}:latest`);
  assert.ok((await ollama.show({ model: listed.name })).capabilities.includes("completion"));
  assert.equal((await ollama.ps()).models[0].name, listed.name);
  assert.match((await ollama.version()).version, /^\d+\.\d+\.\d+$/);
});

step("errors", "scripted", async () => {
  await assert.rejects(ollama.chat({ model: "nobody", messages: CAPITAL }), { status_code: 404, message: /does not exist/ });
  await assert.rejects(ollama.pull({ model: "org/name", stream: false }), { status_code: 403 });
  await assert.rejects(ollama.create({ model: "a", from: "b", stream: false }), { status_code: 501 });
});

await run();
