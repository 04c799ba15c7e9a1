import OpenAI from "openai";

const client = new OpenAI({ baseURL: "http://localhost:3928/v1", apiKey: "none" });
for await (const model of client.models.list()) console.log(model.id);
console.log((await client.models.retrieve("SmolLM2-135M-Instruct")).context_length);

const settings = { model: "SmolLM2-135M-Instruct", options: { context: 1024 }, keep_alive: "1h", pin: true };
console.log((await client.post("/models/load", { body: settings })).state);
await client.post("/models/unload", { body: { model: "SmolLM2-135M-Instruct" } });
console.log("unloaded");
