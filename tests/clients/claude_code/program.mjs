// Claude Code in print mode: an answer, and tools that it runs for the model.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { promisify } from "node:util";
import { run, says, step } from "./steps.mjs";

const environment = {
  // what you change
  ANTHROPIC_BASE_URL: process.env.NITRO_ROOT,
  ANTHROPIC_API_KEY: "none",
  ANTHROPIC_MODEL: process.env.NITRO_MODEL,
  // end of what you change
};
const OFFLINE = { CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1", DISABLE_AUTOUPDATER: "1" };
const claude = createRequire(import.meta.url).resolve("@anthropic-ai/claude-code/cli-wrapper.cjs");
const call = (name, input) => `Hm.</think><tool_call>\n${JSON.stringify({ name, arguments: input })}\n</tool_call>`;

async function ask(prompt, ...options) {
  const begun = promisify(execFile)(process.execPath, [claude, "-p", prompt, "--output-format", "json", ...options], {
    env: { ...process.env, ...OFFLINE, ...environment },
  });
  begun.child.stdin.end();
  return JSON.parse((await begun).stdout);
}

step("an answer", "scripted", async () => {
  const told = await ask(says("I greet.</think>Hello, you."));
  assert.deepEqual([told.is_error, told.result, told.num_turns], [false, "Hello, you.", 1]);
  assert.ok(told.usage.output_tokens > 10 && told.usage.input_tokens + told.usage.cache_read_input_tokens > 10_000);
});

step("a file that it reads for the model", "scripted", async () => {
  const file = join(process.cwd(), "note.txt");
  await writeFile(file, says("It is a note.</think>The note says so."));
  const told = await ask(says(call("Read", { file_path: file })));
  assert.deepEqual([told.is_error, told.result, told.num_turns], [false, "The note says so.", 2]);
});

step("a command that it runs for the model", "scripted", async () => {
  // the octal escapes are those of the characters of `says`
  const next = "\\342\\220\\202It ran.</think>Done.\\342\\220\\203";
  const command = `printf 'by the model' > new.txt; printf '${next}'`;
  const told = await ask(says(call("Bash", { command, description: "Writes a file" })), "--allowedTools", "Bash");
  assert.deepEqual([told.is_error, told.result, told.num_turns], [false, "Done.", 2]);
  assert.equal(await readFile(join(process.cwd(), "new.txt"), "utf8"), "by the model");
});

step("an error that it tells", "scripted", async () => {
  await assert.rejects(ask("Hello", "--model", "nowhere"), (error) => {
    assert.match(JSON.parse(error.stdout).result, /nowhere/);
    return true;
  });
});

await run();
