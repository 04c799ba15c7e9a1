import { writeFile } from "node:fs/promises";

const url = "http://localhost:3928/v1/records";
const { data } = await (await fetch(`${url}?limit=5`)).json(); // the newest first
for (const { id } of data) {
  console.log(id, (await (await fetch(`${url}/${id}`)).json()).exchange.request);
  await writeFile(`${id}.jsonl`, await (await fetch(`${url}/${id}/file`)).text()); // for `nitro replay`
  await fetch(`${url}/${id}`, { method: "DELETE" });
}
console.log("deleted", await (await fetch(url, { method: "DELETE" })).json()); // all of them
