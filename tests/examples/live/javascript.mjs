const url = "http://localhost:3928/v1";
const chat = { messages: [{ role: "user", content: "Count to a thousand." }], max_tokens: 900, stream: true };
const headers = { "Content-Type": "application/json" };
const answer = await fetch(`${url}/chat/completions`, { method: "POST", headers, body: JSON.stringify(chat) });

const events = await fetch(`${url}/server/events`);
for await (const event of events.body.pipeThrough(new TextDecoderStream())) {
  console.log(event.slice(0, 200)); // a snapshot first, then changes
  break;
}
await fetch(`${url}/server/requests/${answer.headers.get("x-request-id")}/abort`, { method: "POST" });
console.log((await answer.text()).slice(-200));
