const url = "http://localhost:3928";
console.log((await (await fetch(`${url}/health`)).json()).status, (await fetch(`${url}/healthz`)).status);
console.log(await (await fetch(`${url}/metrics`)).text());
const document = await (await fetch(`${url}/schema/openapi.json`)).json(); // also at /schema
console.log(Object.keys(document.paths).length, (await fetch(`${url}/schema`)).status);
