import OpenAI from "openai";

const client = new OpenAI({ baseURL: "http://localhost:3928/v1", apiKey: "none" });
const begun = await client.responses.create({ model: "", input: "Tell me a story.", background: true });
console.log((await client.responses.retrieve(begun.id)).status); // queued, in_progress, completed
console.log((await client.responses.cancel(begun.id)).status); // cancelled, unless it has ended

for await (const item of client.responses.inputItems.list(begun.id)) console.log(item.role, item.content[0].text);
await client.responses.delete(begun.id);
console.log("deleted");
