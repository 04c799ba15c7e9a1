// An answer that comes as a stream of chunks, gathered into what a message holds.
// The chunks: schema ChatCompletionChunk of the server's OpenAPI document.

import { ApiError, type ServerEvent } from "../api";
import type { Call, Figures, Message, State, Token } from "./conversation";

interface Chunk {
  error?: { message: string; param?: string; code?: string };
  model?: string;
  choices: {
    delta: {
      content?: string;
      reasoning_content?: string;
      tool_calls?: { index: number; id?: string; function: { name?: string; arguments: string } }[];
    };
    finish_reason: string | null;
    logprobs: { content: ScoredToken[] } | null;
  }[];
  usage?: { prompt_tokens: number; prompt_tokens_details: { cached_tokens: number } } | null;
  timings?: { prompt_ms: number; predicted_n: number; predicted_per_second: number };
}

interface ScoredToken {
  token: string;
  logprob: number;
  top_logprobs: { token: string; logprob: number }[];
}

const END = "[DONE]";

/** What has come of an answer so far. */
export class Gathered {
  private text: string;
  private reasoning: string;
  private calls: Call[] = [];
  private tokens: Token[];
  private figures: Figures | undefined;
  private finish: string | null = null;
  private model: string | undefined;

  /** `begun`: what there is already, and is continued. */
  constructor(begun: Message) {
    this.text = begun.text;
    this.reasoning = begun.reasoning ?? "";
    this.tokens = [...(begun.tokens ?? [])];
  }

  /** Take an event in. Throws ApiError where the server says that it cannot go on. */
  take({ data }: ServerEvent): void {
    if (data === END) return;
    const chunk = JSON.parse(data) as Chunk;
    if (chunk.error) {
      throw new ApiError(200, chunk.error.message, chunk.error.param ?? null, chunk.error.code ?? null);
    }
    this.model = chunk.model || this.model;
    const choice = chunk.choices[0];
    if (choice) {
      this.text += choice.delta.content ?? "";
      this.reasoning += choice.delta.reasoning_content ?? "";
      for (const piece of choice.delta.tool_calls ?? []) this.takeCall(piece);
      this.tokens.push(...(choice.logprobs?.content ?? []).map(tokenOf));
      this.finish = choice.finish_reason ?? this.finish;
    }
    if (chunk.usage && chunk.timings) this.figures = figuresOf(chunk.usage, chunk.timings);
  }

  /** Whether the model has said all. */
  get ended(): boolean {
    return this.finish !== null;
  }

  /** The message's parts, in this state; where it has ended, that is what counts. */
  part(state: State): Partial<Message> {
    const { text, reasoning, calls, figures, model } = this;
    const tokens = this.tokens.length ? [...this.tokens] : undefined;
    const last = this.finish === "length" ? "cut" : "whole";
    return {
      text, reasoning, figures, model, tokens,
      calls: calls.length ? calls.map((each) => ({ ...each })) : undefined,
      state: this.ended ? last : state,
    }; // prettier-ignore
  }

  private takeCall(piece: { index: number; id?: string; function: { name?: string; arguments: string } }): void {
    const call = (this.calls[piece.index] ??= { id: "", name: "", arguments: "" });
    call.id ||= piece.id ?? "";
    call.name ||= piece.function.name ?? "";
    call.arguments += piece.function.arguments;
  }
}

function tokenOf(scored: ScoredToken): Token {
  const others = scored.top_logprobs.map(({ token, logprob }) => ({ text: token, logprob }));
  return { text: scored.token, logprob: scored.logprob, others };
}

function figuresOf(usage: NonNullable<Chunk["usage"]>, timings: NonNullable<Chunk["timings"]>): Figures {
  return {
    tokens: timings.predicted_n,
    perSecond: timings.predicted_per_second,
    first: timings.prompt_ms / 1000,
    prompt: usage.prompt_tokens,
    cached: usage.prompt_tokens_details.cached_tokens,
  };
}
