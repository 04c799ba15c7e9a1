import OpenAI from "openai";

const client = new OpenAI({ baseURL: "http://localhost:3928/v1", apiKey: "none" });
const input = ["A man eats.", "Somebody has a meal.", "Shares fell."];
const { data } = await client.embeddings.create({ model: "", input });
const first = data[0].embedding;
for (const { embedding, index } of data.slice(1)) {
  const likeness = embedding.reduce((sum, value, place) => sum + value * first[place], 0); // their length is 1
  console.log(likeness.toFixed(2), input[index]);
}
