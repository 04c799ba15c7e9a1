const url = "http://localhost:3928/v1";
const query = "What is the capital of France?";
const documents = ["Oslo is in Norway.", "Paris has been the capital since 987."];

async function post(path, body) {
  const headers = { "Content-Type": "application/json" };
  return (await fetch(url + path, { method: "POST", headers, body: JSON.stringify(body) })).json();
}

const { results } = await post("/rerank", { query, documents });
for (const { relevance_score, index } of results) console.log(relevance_score, documents[index]); // the best one first

const { data } = await post("/score", { text_1: query, text_2: documents });
console.log(data.map((each) => each.score)); // in the order of the documents
