async function post(path, body) {
  const headers = { "Content-Type": "application/json" };
  const reply = await fetch(`http://localhost:3928${path}`, { method: "POST", headers, body: JSON.stringify(body) });
  return reply.json();
}

const { tokens } = await post("/tokenize", { content: "Hello, world" });
console.log(tokens);
console.log((await post("/detokenize", { tokens })).content);
console.log((await post("/apply-template", { messages: [{ role: "user", content: "Hello" }] })).prompt);
