const url = "http://localhost:3928/inferences/llamacpp";
const post = (path, body) => {
  const headers = { "Content-Type": "application/json" };
  return fetch(url + path, { method: "POST", headers, body: JSON.stringify(body) });
};

const loaded = await post("/loadmodel", { llama_model_path: "/models/smollm2.gguf", ctx_len: 512 });
console.log(await loaded.text());
console.log((await (await fetch(`${url}/modelstatus`)).json()).model_loaded);
const messages = [{ role: "user", content: "What is the capital of France?" }];
const reply = await (await post("/chat_completion", { messages, max_tokens: 50, temperature: 0 })).json();
console.log(reply.choices[0].message.content);
const { data } = await (await post("/embedding", { input: "A man eats." })).json();
console.log(data[0].embedding.length, "numbers");
console.log(await (await fetch(`${url}/unloadmodel`)).text());
