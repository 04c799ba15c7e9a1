import OpenAI from "openai";

const client = new OpenAI({ baseURL: "http://localhost:3928/v1", apiKey: "secret" });
for await (const model of client.models.list()) console.log(model.id);
