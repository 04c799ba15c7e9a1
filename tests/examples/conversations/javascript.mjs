import OpenAI from "openai";

const client = new OpenAI({ baseURL: "http://localhost:3928/v1", apiKey: "none" });
const talk = await client.conversations.create({ metadata: { topic: "France" } });
await client.responses.create({
  model: "",
  conversation: talk.id,
  input: "What is the capital of France?",
  max_output_tokens: 50,
});
const question = { type: "message", role: "user", content: "And of Norway?" };
const { data } = await client.conversations.items.create(talk.id, { items: [question] });

for await (const item of client.conversations.items.list(talk.id, { order: "asc" })) {
  console.log(item.role, item.content[0].text);
}
const [{ id }] = data;
console.log(await client.conversations.items.retrieve(id, { conversation_id: talk.id }));
await client.conversations.items.delete(id, { conversation_id: talk.id });
await client.conversations.update(talk.id, { metadata: { topic: "capitals" } });
console.log((await client.conversations.retrieve(talk.id)).metadata);
console.log("deleted", (await client.conversations.delete(talk.id)).deleted);
