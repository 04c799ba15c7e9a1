// Codex CLI, as its documentation sets up a provider: questions, commands that it runs, conversations that go on.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { run, says, step } from "./steps.mjs";

// what you change
const config = `# ~/.codex/config.toml
model = "${process.env.NITRO_MODEL}"
model_provider = "nitro"

[model_providers.nitro]
name = "Nitro"
base_url = "${process.env.NITRO_URL}"
wire_api = "responses"
`;
// end of what you change

const binary = fileURLToPath(new URL("node_modules/@openai/codex/bin/codex.js", import.meta.url));
const home = `${process.env.HOME}/codex`;
mkdirSync(home, { recursive: true });
writeFileSync(`${home}/config.toml`, config);

// what Codex tells, as one object per line; it runs commands without a sandbox of its own
async function codex(...words) {
  const options = ["--json", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"];
  const child = spawn(process.execPath, [binary, "exec", ...options, ...words], {
    env: { ...process.env, CODEX_HOME: home },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let [said, errors] = ["", ""];
  child.stdout.on("data", (data) => (said += data));
  child.stderr.on("data", (data) => (errors += data));
  const status = await new Promise((done) => child.on("close", done));
  const told = said.split("\n").filter((line) => line.startsWith("{")).map((line) => JSON.parse(line));
  return { status, told, errors };
}

const items = (told, type) =>
  told.filter((each) => each.type === "item.completed" && each.item.type === type).map((each) => each.item);
const calls = (cmd) => `<tool_call>\n${JSON.stringify({ name: "exec_command", arguments: { cmd } })}\n</tool_call>`;
// a command's output that makes the scripted model say this; the command itself must not
const printed = (text) => `printf '\\342\\220\\202${text}\\342\\220\\203'`;

step("`codex exec`, a question", "scripted", async () => {
  const { status, told, errors } = await codex(says("Paris.") + "The capital of France is");
  assert.equal(status, 0, errors);
  assert.deepEqual(items(told, "agent_message").map((item) => item.text), ["Paris."]);
  assert.ok(told.at(-1).usage.output_tokens > 0);
});

step("a command that it runs, and what it says of its output", "scripted", async () => {
  const made = calls(`echo made > made.txt; ${printed("Done.")}`);
  const { status, told, errors } = await codex(says(made) + "Make a file.");
  assert.equal(status, 0, errors);
  const [command] = items(told, "command_execution");
  assert.equal(command.exit_code, 0);
  assert.deepEqual(items(told, "agent_message").map((item) => item.text), ["Done."]);
  assert.equal(readFileSync("made.txt", "utf8"), "made\n");
});

step("words before a command, and reasoning", "scripted", async () => {
  const said = `<think>I look.</think>I make it.\n${calls(printed("Done."))}`;
  const { status, told, errors } = await codex(says(said) + "Make a file.");
  assert.equal(status, 0, errors);
  assert.deepEqual(items(told, "agent_message").map((item) => item.text.trim()), ["I make it.", "Done."]);
  assert.deepEqual(items(told, "reasoning").map((item) => item.text), ["I look."]);
});

step("`codex exec resume`, a conversation that goes on", "scripted", async () => {
  await codex(says("Hello.") + "Hello");
  const { status, told, errors } = await codex("resume", "--last", says("Fine.") + "How are you?");
  assert.equal(status, 0, errors);
  assert.deepEqual(items(told, "agent_message").map((item) => item.text), ["Fine."]);
});

await run();
