const headers = { Authorization: "Bearer secret" };
const { data, keys } = await (await fetch("http://localhost:3928/v1/usage?days=7", { headers })).json();
for (const { name, tokens } of keys) console.log(name, "has left of its tokens:", tokens);
for (const row of data) console.log(row.day, row.model, row.requests, row.prompt_tokens, row.completion_tokens); // newest first
