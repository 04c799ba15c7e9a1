const url = "http://localhost:3928/v1";
const events = (await fetch(`${url}/server/events`)).body.getReader();
console.log(new TextDecoder().decode((await events.read()).value)); // all there is; changes follow
await events.cancel();

const headers = { "Content-Type": "application/json" };
const body = JSON.stringify({ messages: [{ role: "user", content: "Tell me a story." }], stream: true });
const reply = await fetch(`${url}/chat/completions`, { method: "POST", headers, body });
const id = reply.headers.get("x-request-id");
console.log(await (await fetch(`${url}/server/requests/${id}/abort`, { method: "POST" })).json());
await reply.body.cancel();
