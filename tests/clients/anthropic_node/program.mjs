// The Anthropic SDK: what its README and helpers.md show.

import assert from "node:assert/strict";
import Anthropic from "@anthropic-ai/sdk";
import { betaTool } from "@anthropic-ai/sdk/helpers/beta/json-schema";
import { run, says, step } from "./steps.mjs";

// what you change
const client = new Anthropic({
  baseURL: process.env.NITRO_ROOT,
  apiKey: "none",
});
const model = process.env.NITRO_MODEL;
// end of what you change

const CAPITAL = [{ role: "user", content: says("Paris.") + "The capital of France is" }];
const CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>';
const ASKED = [{ role: "user", content: says(CALL) + "What is the weather in Oslo?" }];
const SCHEMA = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const WEATHER = { name: "weather", description: "Tells the weather.", input_schema: SCHEMA };
const short = { model, max_tokens: 16 };
const long = { model, max_tokens: 200 };

step("an answer", "scripted", "llama", "mlx", async () => {
  const message = await client.messages.create({ ...short, temperature: 0, messages: CAPITAL });
  assert.match(message.content[0].text, /Paris/);
  assert.ok(message.usage.output_tokens > 0);
});

step("a stream", "scripted", "llama", async () => {
  const kinds = [];
  for await (const event of await client.messages.create({ ...short, messages: CAPITAL, stream: true })) kinds.push(event.type);
  assert.equal(kinds[0], "message_start");
  assert.equal(kinds.at(-1), "message_stop");
});

step("`messages.stream()`, its events and its final message", "scripted", "llama", "mlx", async () => {
  let said = "";
  const stream = client.messages.stream({ ...short, messages: CAPITAL }).on("text", (text) => (said += text));
  const message = await stream.finalMessage();
  assert.equal(said, message.content[0].text);
  assert.ok(message.usage.input_tokens + message.usage.cache_read_input_tokens > 0);
});

step("a tool and its result", "scripted", async () => {
  const stream = client.messages.stream({ ...long, messages: ASKED, tools: [WEATHER] });
  const message = await stream.finalMessage();
  const [call] = message.content;
  assert.deepEqual([message.stop_reason, call.name, call.input], ["tool_use", "weather", { city: "Oslo" }]);
  const result = { type: "tool_result", tool_use_id: call.id, content: says("It rains.") };
  const messages = [...ASKED, { role: "assistant", content: message.content }, { role: "user", content: [result] }];
  assert.equal((await client.messages.create({ ...long, messages, tools: [WEATHER] })).content[0].text, "It rains.");
});

step("a tool that must be called", "scripted", "llama", async () => {
  const options = { ...long, messages: ASKED, tools: [WEATHER], tool_choice: { type: "any" } };
  const [call] = (await client.messages.create(options)).content;
  assert.equal(typeof call.input.city, "string");
});

step("`beta.messages.toolRunner()`", "scripted", async () => {
  const asked = [];
  const weather = betaTool({
    name: "weather",
    description: "Tells the weather.",
    inputSchema: SCHEMA,
    run: ({ city }) => {
      asked.push(city);
      return says("It rains.");
    },
  });
  const final = await client.beta.messages.toolRunner({ ...long, messages: ASKED, tools: [weather] });
  assert.equal(final.content[0].text, "It rains.");
  assert.deepEqual(asked, ["Oslo"]);
});

step("thinking", "scripted", async () => {
  const messages = [{ role: "user", content: says("I add.</think>Four.") + "2 + 2?" }];
  const { content } = await client.messages.stream({ ...long, messages, thinking: { type: "adaptive" } }).finalMessage();
  assert.deepEqual([content[0].thinking, content[1].text], ["I add.", "Four."]);
  assert.ok(content[0].signature);
});

step("`models.list()`", "scripted", async () => {
  const ids = [];
  for await (const each of client.models.list()) ids.push(each.id);
  assert.deepEqual(ids, [model]);
});

await run();
