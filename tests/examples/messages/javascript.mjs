import Anthropic from "@anthropic-ai/sdk";

const client = new Anthropic({ baseURL: "http://localhost:3928", apiKey: "none" });
const model = "SmolLM2-135M-Instruct";
const messages = [{ role: "user", content: "What is the capital of France?" }];
console.log((await client.messages.countTokens({ model, messages })).input_tokens, "tokens");
const stream = client.messages.stream({ model, messages, max_tokens: 50 });
stream.on("text", (text) => process.stdout.write(text));
await stream.finalMessage();
