// LangChain.js: what the page of its ChatOpenAI shows.

import assert from "node:assert/strict";
import { HumanMessage, SystemMessage } from "@langchain/core/messages";
import { ChatPromptTemplate } from "@langchain/core/prompts";
import { tool } from "@langchain/core/tools";
import { ChatOpenAI } from "@langchain/openai";
import { z } from "zod";
import { run, says, step } from "./steps.mjs";

// what you change
const settings = {
  model: process.env.NITRO_MODEL,
  apiKey: "none",
  configuration: { baseURL: process.env.NITRO_URL },
};
// end of what you change

const model = new ChatOpenAI({ ...settings, temperature: 0, maxTokens: 100 });
const brief = new ChatOpenAI({ ...settings, temperature: 0, maxTokens: 16 });

const CAPITAL = says("Paris.") + "The capital of France is";
const CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo", "unit": "c"}}\n</tool_call>';
const ASKED = says(CALL) + "What is the weather in Oslo?";
const PERSON = says('{"name": "Anna", "age": 30}') + "Anna is 30 years old.";
const Person = z.object({ name: z.string().regex(/^[A-Z][a-z]{1,10}$/), age: z.number().int().min(0).max(120) });
const Weather = z.object({ city: z.string().max(20), unit: z.enum(["c", "f"]) });

const weather = tool(async () => says("It is cold."), {
  name: "weather",
  description: "The weather in a city.",
  schema: Weather,
});

step("`invoke`", "scripted", "llama", "mlx", async () => {
  const reply = await brief.invoke(CAPITAL);
  assert.match(reply.content, /Paris/);
  assert.ok(reply.usage_metadata.input_tokens > 0 && reply.usage_metadata.output_tokens > 0);
});

step("`stream`", "scripted", "llama", "mlx", async () => {
  let whole;
  let count = 0;
  for await (const chunk of await brief.stream(CAPITAL)) {
    whole = whole ? whole.concat(chunk) : chunk;
    count += 1;
  }
  assert.match(whole.content, /Paris/);
  assert.ok(count > 3 && whole.usage_metadata.output_tokens > 1);
});

step("`batch`, and a prompt in a chain", "scripted", "llama", async () => {
  const prompt = ChatPromptTemplate.fromMessages([["human", "{question}"]]);
  const replies = await prompt.pipe(brief).batch([{ question: CAPITAL }, { question: CAPITAL }]);
  for (const reply of replies) assert.match(reply.content, /Paris/);
});

step("`bindTools`, and a tool's result", "scripted", async () => {
  const messages = [new SystemMessage("Be brief."), new HumanMessage(ASKED)];
  const reply = await model.bindTools([weather]).invoke(messages);
  assert.deepEqual(reply.tool_calls.map((call) => [call.name, call.args]), [["weather", { city: "Oslo", unit: "c" }]]);
  const result = await weather.invoke(reply.tool_calls[0]);
  const next = await model.bindTools([weather]).invoke([...messages, reply, result]);
  assert.equal(next.content, "It is cold.");
});

step("`bindTools` in a stream", "scripted", async () => {
  let whole;
  for await (const chunk of await model.bindTools([weather]).stream(ASKED)) whole = whole ? whole.concat(chunk) : chunk;
  assert.deepEqual(whole.tool_calls.map((call) => [call.name, call.args]), [["weather", { city: "Oslo", unit: "c" }]]);
});

step("a tool that must be called (`tool_choice`)", "scripted", "llama", async () => {
  for (const choice of ["any", "weather"]) {
    const reply = await model.bindTools([weather], { tool_choice: choice }).invoke(ASKED);
    Weather.parse(reply.tool_calls[0].args);
  }
});

step("`withStructuredOutput`, by a schema or by a call", "scripted", "llama", async () => {
  Person.parse(await model.withStructuredOutput(Person, { method: "jsonSchema" }).invoke(PERSON));
  const call = '<tool_call>\n{"name": "extract", "arguments": {"name": "Anna", "age": 30}}\n</tool_call>';
  const caller = model.withStructuredOutput(Person, { method: "functionCalling", name: "extract" });
  Person.parse(await caller.invoke(says(call) + "Anna is 30 years old."));
});

step("reasoning, in `additional_kwargs`", "scripted", async () => {
  const thoughtful = new ChatOpenAI({ ...settings, modelKwargs: { enable_thinking: true } });
  const question = says("I add.</think>Four.") + "2 + 2?";
  const reply = await thoughtful.invoke(question);
  assert.deepEqual([reply.additional_kwargs.reasoning_content, reply.content], ["I add.", "Four."]);
  let thought = "";
  for await (const chunk of await thoughtful.stream(question)) thought += chunk.additional_kwargs.reasoning_content ?? "";
  assert.equal(thought, "I add.");
});

await run();
