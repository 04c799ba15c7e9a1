import OpenAI from "openai";

const client = new OpenAI({ baseURL: "http://localhost:3928/v1", apiKey: "none" });
const question = "What is the capital of France?";
const body = { messages: [{ role: "user", content: question }] };
console.log((await client.post("/chat/completions/input_tokens", { body })).input_tokens);
console.log((await client.responses.inputTokens.count({ input: question })).input_tokens);
