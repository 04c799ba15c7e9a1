import OpenAI from "openai";

const client = new OpenAI({ baseURL: "http://localhost:3928/v1", apiKey: "none" });
await client.post("/load_lora_adapter", { body: { lora_name: "poet", lora_path: "/models/poet" } });
const reply = await client.completions.create({ model: "poet", prompt: "Rain", max_tokens: 20 });
console.log(reply.model, reply.choices[0].text);

const url = "http://localhost:3928/lora-adapters";
const adapters = await (await fetch(url)).json();
console.log(adapters); // with the scale that requests get which name none
await fetch(url, { method: "POST", body: JSON.stringify([{ id: adapters[0].id, scale: 0.5 }]) });
await client.post("/unload_lora_adapter", { body: { lora_name: "poet" } });
