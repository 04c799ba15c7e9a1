// The life of a request as stretches of time, one after the other.

import type { Request } from "./state";

export type PhaseName = "reading" | "queue" | "prompt" | "reasoning" | "content" | "call";
export const PHASES: readonly PhaseName[] = ["reading", "queue", "prompt", "reasoning", "content", "call"];

export interface Phase {
  name: PhaseName;
  /** Seconds after the request's head. */
  from: number;
  to: number;
}

/** How long a request has lasted. `now`: the server's time. */
export const duration = (request: Request, now: number): number => request.ended ?? Math.max(now - request.began, 0);

/** The stretches of a request until now, or its end. */
export function phases(request: Request, now: number): Phase[] {
  const end = duration(request, now);
  const marks: { name: PhaseName; from: number }[] = [{ name: "reading", from: 0 }];
  if (request.accepted !== undefined) marks.push({ name: "queue", from: request.accepted });
  const started = request.started ?? (request.inputs ? request.accepted : undefined); // embeddings tell no slot
  if (started !== undefined) marks.push({ name: "prompt", from: started });
  if (request.first !== undefined) {
    const spans = request.spans ?? [];
    if (spans.length === 0) marks.push({ name: "content", from: request.first });
    for (const span of spans) marks.push({ name: span.channel, from: Math.max(span.since, request.first) });
  }
  return marks
    .map(({ name, from }, i) => ({ name, from: Math.min(from, end), to: Math.min(marks[i + 1]?.from ?? end, end) }))
    .filter((phase) => phase.to > phase.from);
}

/** Seconds of each phase together. */
export function sums(request: Request, now: number): Record<PhaseName, number> {
  const found = { reading: 0, queue: 0, prompt: 0, reasoning: 0, content: 0, call: 0 };
  for (const { name, from, to } of phases(request, now)) found[name] += to - from;
  return found;
}
