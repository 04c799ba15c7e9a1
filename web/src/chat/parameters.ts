// What can be set for an answer: read from the server's description of its API, so that it is written down once.

import { signal } from "@preact/signals";
import { get } from "../api";

interface Schema {
  type?: string;
  enum?: string[];
  const?: unknown;
  minimum?: number;
  maximum?: number;
  items?: Schema;
  anyOf?: Schema[];
  $ref?: string;
  description?: string;
  deprecated?: boolean;
  "x-capability"?: string;
}

export interface Parameter {
  name: string;
  description: string;
  kind: "number" | "integer" | "switch" | "choice" | "text" | "json";
  minimum?: number;
  maximum?: number;
  choices: string[];
  /** The key of a model's capabilities that says whether it works there. */
  capability?: string;
}

/** Those that the page sets by other means than a field of its own, or whose effect it could not show. */
const OWN = new Set([
  "model", "messages", "stream", "stream_options", "n", "response_format", "json_schema", "tools", "logprobs",
  "top_logprobs", "continue_final_message", "return_tokens", "timings_per_token", "reasoning_format", "cache_control",
]); // prettier-ignore
/** Those that are shown first, in this order. */
const FIRST = ["temperature", "max_completion_tokens", "top_p", "seed", "enable_thinking", "reasoning_effort", "thinking_budget"];

/** null: not known yet. */
export const parameters = signal<{ first: Parameter[]; more: Parameter[] } | null>(null);

/** Read them, once. Throws ApiError. */
export async function learn(): Promise<void> {
  if (parameters.value) return;
  const told = await get<{ components: { schemas: Record<string, { properties: Record<string, Schema> }> } }>("/schema");
  const properties = told.components.schemas["ChatRequest"]?.properties ?? {};
  const found = Object.entries(properties)
    .filter(([name, schema]) => !OWN.has(name) && !schema.deprecated)
    .map(([name, schema]) => parameterOf(name, schema));
  const first = FIRST.flatMap((name) => found.filter((each) => each.name === name));
  parameters.value = { first, more: found.filter((each) => !FIRST.includes(each.name)) };
}

function parameterOf(name: string, schema: Schema): Parameter {
  const kinds = (schema.anyOf ?? [schema]).filter((each) => each.type !== "null" && each.const === undefined);
  const only = kinds.length === 1 ? kinds[0] : undefined;
  const parameter = { name, description: schema.description ?? "", choices: only?.enum ?? [], capability: schema["x-capability"] };
  if (only?.type === "number" || only?.type === "integer") {
    return { ...parameter, kind: only.type, minimum: only.minimum, maximum: only.maximum };
  }
  if (only?.type === "boolean") return { ...parameter, kind: "switch" };
  if (only?.type === "string") return { ...parameter, kind: only.enum ? "choice" : "text" };
  return { ...parameter, kind: "json" };
}
