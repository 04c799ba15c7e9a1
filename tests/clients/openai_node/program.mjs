// The OpenAI SDK: what its README and helpers.md show.

import assert from "node:assert/strict";
import { createReadStream, readFileSync } from "node:fs";
import OpenAI from "openai";
import { zodFunction, zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";
import { picture, run, says, speech, step } from "./steps.mjs";

// what you change
const client = new OpenAI({
  baseURL: process.env.NITRO_URL,
  apiKey: "none",
});
const model = process.env.NITRO_MODEL;
// end of what you change

const CAPITAL = [{ role: "user", content: says("Paris.") + "The capital of France is" }];
const CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo", "unit": "c"}}\n</tool_call>';
const ASKED = [{ role: "user", content: says(CALL) + "What is the weather in Oslo?" }];
const PERSON = [{ role: "user", content: says('{"name": "Anna", "age": 30}') + "Anna is 30 years old." }];
const THOUGHTFUL = [{ role: "user", content: says("I add.</think>Four.") + "2 + 2?" }];
const Person = z.object({ name: z.string().regex(/^[A-Z][a-z]{1,10}$/), age: z.number().int().min(0).max(120) });
const Weather = z.object({ city: z.string().max(20), unit: z.enum(["c", "f"]) });
const short = { model, max_tokens: 16, temperature: 0 };
const long = { model, max_tokens: 100, temperature: 0 };

step("an answer", "scripted", "llama", "mlx", async () => {
  const reply = await client.chat.completions.create({ ...short, messages: CAPITAL });
  assert.match(reply.choices[0].message.content, /Paris/);
  assert.equal(reply.model, model);
  assert.ok(reply.usage.total_tokens > reply.usage.prompt_tokens && reply.usage.prompt_tokens > 0);
});

step("a stream", "scripted", "llama", "mlx", async () => {
  const options = { ...short, messages: CAPITAL, stream: true, stream_options: { include_usage: true } };
  const stream = await client.chat.completions.create(options);
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  const said = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");
  assert.match(said, /Paris/);
  assert.ok(chunks.length > 3 && chunks.at(-1).usage.completion_tokens > 1);
});

step("a stream that is broken off", "scripted", "llama", async () => {
  const stream = await client.chat.completions.create({ ...long, messages: CAPITAL, stream: true });
  for await (const chunk of stream) if (chunk.choices[0].delta.content) break;
  assert.ok(stream.controller.signal.aborted);
  assert.match((await client.chat.completions.create({ ...short, messages: CAPITAL })).choices[0].message.content, /Paris/);
});

step("`.stream()`, its events and its final completion", "scripted", "llama", async () => {
  const stream = client.chat.completions.stream({ ...short, messages: CAPITAL });
  let said = "";
  stream.on("content", (delta) => (said += delta));
  const final = await stream.finalChatCompletion();
  assert.equal(said, final.choices[0].message.content);
  assert.match(said, /Paris/);
  assert.equal(await stream.finalContent(), said);
});

step("`.parse()` with `zodResponseFormat`", "scripted", "llama", "mlx", async () => {
  const format = zodResponseFormat(Person, "person");
  const reply = await client.chat.completions.parse({ ...long, messages: PERSON, response_format: format });
  Person.parse(reply.choices[0].message.parsed);
});

step("`.stream()` with `zodResponseFormat`", "scripted", "llama", async () => {
  const format = zodResponseFormat(Person, "person");
  const stream = client.chat.completions.stream({ ...long, messages: PERSON, response_format: format });
  const final = await stream.finalChatCompletion();
  Person.parse(final.choices[0].message.parsed);
});

step("a tool and its result", "scripted", async () => {
  const tools = [zodFunction({ name: "weather", parameters: Weather })];
  const reply = await client.chat.completions.create({ ...long, messages: ASKED, tools });
  const [call] = reply.choices[0].message.tool_calls;
  assert.equal(reply.choices[0].finish_reason, "tool_calls");
  assert.deepEqual(JSON.parse(call.function.arguments), { city: "Oslo", unit: "c" });
  const result = { role: "tool", tool_call_id: call.id, content: says("It is cold.") };
  const messages = [...ASKED, reply.choices[0].message, result];
  const next = await client.chat.completions.create({ ...long, messages, tools });
  assert.equal(next.choices[0].message.content, "It is cold.");
});

step("a tool that must be called, parsed", "scripted", "llama", async () => {
  const tools = [zodFunction({ name: "weather", parameters: Weather })];
  const options = { ...long, messages: ASKED, tools, tool_choice: "required" };
  const reply = await client.chat.completions.parse(options);
  Weather.parse(reply.choices[0].message.tool_calls[0].function.parsed_arguments);
});

step("a tool that must be called, in `.stream()`", "scripted", "llama", async () => {
  const tools = [zodFunction({ name: "weather", parameters: Weather })];
  const stream = client.chat.completions.stream({ ...long, messages: ASKED, tools, tool_choice: "required" });
  const done = [];
  stream.on("tool_calls.function.arguments.done", (call) => done.push(call));
  const final = await stream.finalChatCompletion();
  const [call] = final.choices[0].message.tool_calls;
  Weather.parse(call.function.parsed_arguments);
  assert.deepEqual(done.map((each) => [each.name, each.arguments]), [["weather", call.function.arguments]]);
});

// what `.runTools()` does until the model calls no more
const toolbox = (asked) => [
  zodFunction({
    name: "weather",
    parameters: Weather,
    function: (place) => {
      asked.push(place);
      return says("It is cold.");
    },
  }),
];

step("`.runTools()`, whole and streaming", "scripted", async () => {
  for (const stream of [false, true]) {
    const asked = [];
    const runner = client.chat.completions.runTools({ ...long, stream, messages: ASKED, tools: toolbox(asked) });
    assert.equal(await runner.finalContent(), "It is cold.");
    assert.deepEqual(asked, [{ city: "Oslo", unit: "c" }]);
    assert.deepEqual(runner.messages.map((message) => message.role), ["user", "assistant", "tool", "assistant"]);
  }
});

step("reasoning, as `reasoning_content`", "scripted", async () => {
  const options = { ...long, messages: THOUGHTFUL, reasoning_effort: "low" };
  const { message } = (await client.chat.completions.create(options)).choices[0];
  assert.deepEqual([message.reasoning_content, message.content], ["I add.", "Four."]);
});

step("pictures, by chat and by `responses`", "llama", async () => {
  const text = "Which colour is this?";
  for (const colour of ["red", "green"]) {
    const url = `data:image/png;base64,${readFileSync(picture(colour), "base64")}`;
    const content = [{ type: "text", text }, { type: "image_url", image_url: { url } }];
    const reply = await client.chat.completions.create({ ...short, messages: [{ role: "user", content }] });
    assert.match(reply.choices[0].message.content, new RegExp(colour, "i"));
    const parts = [{ type: "input_text", text }, { type: "input_image", image_url: url, detail: "auto" }];
    const response = await client.responses.create({ ...RESPONSE, input: [{ role: "user", content: parts }] });
    assert.match(response.output_text, new RegExp(colour, "i"));
  }
});

step("text completions", "llama", async () => {
  const reply = await client.completions.create({ ...short, prompt: "The capital of France is" });
  assert.match(reply.choices[0].text, /Paris/);
});

step("`models.list()` and `models.retrieve()`", "scripted", "llama", async () => {
  const ids = [];
  for await (const each of client.models.list()) ids.push(each.id);
  assert.deepEqual(ids, [model]);
  assert.equal((await client.models.retrieve(model)).owned_by, "nitro");
});

const RESPONSE = { model, input: says("Paris.") + "The capital of France is", max_output_tokens: 16, temperature: 0 };

step("`audio.transcriptions`, whole and streaming, and `audio.translations`", "hears", async () => {
  const said = "It was a dark night.";
  const options = () => ({ model, file: createReadStream(speech()), prompt: says(said), temperature: 0 });
  const reply = await client.audio.transcriptions.create({ ...options(), include: ["logprobs"], language: "en" });
  assert.equal(reply.text, said);
  assert.equal(reply.logprobs.map((token) => token.token).join(""), said);
  let deltas = "";
  let done;
  for await (const event of await client.audio.transcriptions.create({ ...options(), stream: true })) {
    if (event.type === "transcript.text.delta") deltas += event.delta;
    else done = event;
  }
  assert.equal(deltas, said);
  assert.equal(done.text, said);
  const text = await client.audio.transcriptions.create({ ...options(), response_format: "text" });
  assert.equal(text.trim(), said);
  assert.equal((await client.audio.translations.create(options())).text, said);
});

step("`responses.create()` and `responses.stream()`", "scripted", "llama", async () => {
  const reply = await client.responses.create(RESPONSE);
  assert.match(reply.output_text, /Paris/);
  const stream = client.responses.stream(RESPONSE);
  let said = "";
  for await (const event of stream) if (event.type === "response.output_text.delta") said += event.delta;
  assert.equal((await stream.finalResponse()).output_text, said);
});

step("`responses` in the background: polled, left and resumed, cancelled", "scripted", async () => {
  let polled = await client.responses.create({ ...RESPONSE, background: true });
  while (["queued", "in_progress"].includes(polled.status)) polled = await client.responses.retrieve(polled.id);
  assert.deepEqual([polled.status, polled.output_text], ["completed", "Paris."]);

  const events = [];
  for await (const event of await client.responses.create({ ...RESPONSE, background: true, stream: true })) {
    events.push(event);
    if (event.type === "response.output_text.delta") break;
  }
  const rest = { stream: true, starting_after: events.at(-1).sequence_number };
  for await (const event of await client.responses.retrieve(events[0].response.id, rest)) events.push(event);
  assert.deepEqual(events.map((event) => event.sequence_number), [...events.keys()]);
  const said = events.filter((event) => event.type === "response.output_text.delta").map((event) => event.delta);
  assert.equal(said.join(""), "Paris.");

  const endless = { ...RESPONSE, input: says("It goes on. ".repeat(2000)), max_output_tokens: 24_000 };
  const begun = await client.responses.create({ ...endless, background: true });
  assert.equal((await client.responses.cancel(begun.id)).status, "cancelled");
});

step("`conversations`, and a response that goes on in one", "scripted", async () => {
  const talk = await client.conversations.create({ metadata: { topic: "France" } });
  const first = await client.responses.create({ ...RESPONSE, conversation: talk.id });
  const second = await client.responses.create({ ...RESPONSE, conversation: talk.id });
  assert.ok(second.usage.input_tokens > first.usage.input_tokens);
  const roles = [];
  for await (const item of client.conversations.items.list(talk.id, { limit: 3 })) roles.push(item.role);
  assert.deepEqual(roles, ["assistant", "user", "assistant", "user"]);
  assert.ok((await client.conversations.delete(talk.id)).deleted);
  await assert.rejects(client.conversations.retrieve(talk.id), OpenAI.NotFoundError);
});

await run();
