const reply = await fetch("http://localhost:3928/v1/cache", { method: "DELETE" });
console.log(JSON.stringify(await reply.json()));
