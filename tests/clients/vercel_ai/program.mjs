// The Vercel AI SDK with both providers that speak to an OpenAI-compatible server: what its guides show.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, generateObject, generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { picture, run, says, step } from "./steps.mjs";

// what you change
const nitro = createOpenAICompatible({
  name: "nitro",
  baseURL: process.env.NITRO_URL,
  includeUsage: true,
  supportsStructuredOutputs: true,
});
const model = nitro(process.env.NITRO_MODEL);
// end of what you change

const openai = createOpenAI({ baseURL: process.env.NITRO_URL, apiKey: "none" });
const models = [model, openai.chat(process.env.NITRO_MODEL), openai(process.env.NITRO_MODEL)];

const CAPITAL = says("Paris.") + "The capital of France is";
const CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo", "unit": "c"}}\n</tool_call>';
const ASKED = says(CALL) + "What is the weather in Oslo?";
const PERSON = says('{"name": "Anna", "age": 30}') + "Anna is 30 years old.";
const THOUGHTFUL = says("I add.</think>Four.") + "2 + 2?";
const Person = z.object({ name: z.string().regex(/^[A-Z][a-z]{1,10}$/), age: z.number().int().min(0).max(120) });
const Weather = z.object({ city: z.string().max(20), unit: z.enum(["c", "f"]) });
const short = { maxOutputTokens: 16, temperature: 0, maxRetries: 0 };
const long = { ...short, maxOutputTokens: 100 };
const thinking = { providerOptions: { nitro: { reasoningEffort: "low" } } };

// tools whose calls are noted; what they answer is what the scripted model says next
const toolbox = (asked) => ({
  weather: tool({
    description: "The weather in a city.",
    inputSchema: Weather,
    execute: async (place) => {
      asked.push(place);
      return says("It is cold.");
    },
  }),
});

step("`generateText`", "scripted", "llama", "mlx", async () => {
  for (const each of models) {
    const { text, usage, finishReason } = await generateText({ ...short, model: each, prompt: CAPITAL });
    assert.match(text, /Paris/);
    assert.ok(usage.inputTokens > 0 && usage.outputTokens > 0 && ["stop", "length"].includes(finishReason));
  }
});

step("`streamText`", "scripted", "llama", async () => {
  for (const each of models) {
    const result = streamText({ ...short, model: each, prompt: CAPITAL });
    const pieces = [];
    for await (const piece of result.textStream) pieces.push(piece);
    assert.match(pieces.join(""), /Paris/);
    assert.equal(await result.text, pieces.join(""));
    assert.ok(pieces.length > 1 && (await result.usage).outputTokens > 1);
  }
});

step("a system message, a conversation, parts of a text", "scripted", async () => {
  const parts = [
    { type: "text", text: "Where is" },
    { type: "text", text: says("In France.") + "Paris?" },
  ];
  const messages = [
    { role: "user", content: CAPITAL },
    { role: "assistant", content: "Paris." },
    { role: "user", content: parts },
  ];
  for (const each of models) {
    const { text } = await generateText({ ...long, model: each, system: "Be brief.", messages });
    assert.equal(text, "In France.");
  }
});

step("pictures, as parts of type `image` and `file`", "llama", async () => {
  for (const colour of ["red", "green"]) {
    const data = readFileSync(picture(colour));
    for (const part of [{ type: "image", image: data }, { type: "file", data, mediaType: "image/png" }]) {
      const messages = [{ role: "user", content: [{ type: "text", text: "Which colour is this?" }, part] }];
      for (const each of models) {
        const { text } = await generateText({ ...short, model: each, messages });
        assert.match(text, new RegExp(colour, "i"));
      }
    }
  }
});

step("`Output.object` with a zod schema", "scripted", "llama", "mlx", async () => {
  for (const each of models) {
    const output = Output.object({ schema: Person });
    const result = await generateText({ ...long, model: each, prompt: PERSON, output });
    Person.parse(result.output);
  }
});

step("`Output.object` in `streamText`", "scripted", "llama", async () => {
  for (const each of models) {
    const result = streamText({ ...long, model: each, prompt: PERSON, output: Output.object({ schema: Person }) });
    const partial = [];
    for await (const object of result.partialOutputStream) partial.push(object);
    Person.parse(partial.at(-1));
  }
});

step("`generateObject`", "scripted", "llama", async () => {
  for (const each of models) {
    Person.parse((await generateObject({ ...long, model: each, prompt: PERSON, schema: Person })).object);
  }
});

step("a loop of tools in `generateText` (`stopWhen`)", "scripted", async () => {
  for (const each of models) {
    const asked = [];
    const options = { ...long, model: each, prompt: ASKED, tools: toolbox(asked), stopWhen: stepCountIs(5) };
    const { text, steps } = await generateText(options);
    assert.deepEqual(asked, [{ city: "Oslo", unit: "c" }]);
    assert.equal(text, "It is cold.");
    assert.deepEqual(steps.map((one) => one.finishReason), ["tool-calls", "stop"]);
  }
});

step("a loop of tools in `streamText`", "scripted", async () => {
  for (const each of models) {
    const asked = [];
    const options = { ...long, model: each, prompt: ASKED, tools: toolbox(asked), stopWhen: stepCountIs(5) };
    const result = streamText(options);
    const seen = new Set();
    for await (const part of result.fullStream) seen.add(part.type);
    assert.deepEqual(asked, [{ city: "Oslo", unit: "c" }]);
    assert.equal(await result.text, "It is cold.");
    for (const type of ["tool-input-delta", "tool-call", "tool-result", "text-delta"]) assert.ok(seen.has(type), type);
  }
});

step("a tool that must be called (`toolChoice`)", "scripted", "llama", async () => {
  for (const each of models) {
    for (const toolChoice of ["required", { type: "tool", toolName: "weather" }]) {
      const asked = [];
      await generateText({ ...long, model: each, prompt: ASKED, tools: toolbox(asked), toolChoice });
      Weather.parse(asked[0]);
    }
  }
});

step("reasoning", "scripted", async () => {
  const options = { ...long, model, prompt: THOUGHTFUL, ...thinking };
  const whole = await generateText(options);
  assert.deepEqual([whole.reasoningText, whole.text], ["I add.", "Four."]);
  const result = streamText(options);
  assert.deepEqual([await result.reasoningText, await result.text], ["I add.", "Four."]);
});

step("reasoning before a call, and again in the history", "scripted", async () => {
  const prompt = says(`I look.</think>${CALL}`) + "What is the weather in Oslo?";
  const { weather } = toolbox([]);
  const tools = { weather: { ...weather, execute: async () => says("Aha.</think>It is cold.") } };
  const options = { ...long, maxOutputTokens: 200, model, prompt, tools, stopWhen: stepCountIs(5), ...thinking };
  const { text, steps } = await generateText(options);
  assert.equal(text, "It is cold.");
  assert.deepEqual(steps.map((one) => one.reasoningText), ["I look.", "Aha."]);
});

step("a refusal, in the server's words", "scripted", async () => {
  for (const each of models) {
    await assert.rejects(generateText({ ...short, model: each, prompt: CAPITAL, temperature: -1 }), (error) => {
      assert.ok(APICallError.isInstance(error) && error.statusCode === 400 && !error.isRetryable);
      assert.match(error.message, /'temperature'/);
      return true;
    });
  }
});

await run();
