// An answer token by token: the less likely one was, the stronger its colour. Pointing at a token, or going to it by the
// arrow keys, shows what else was likely at its place.

import { useRef, useState } from "preact/hooks";
import { strings } from "../strings";
import type { Token } from "./conversation";

const words = strings.chat.tokens;
const LEVELS = [0.9, 0.6, 0.3, 0.1]; // probabilities; below each begins the next colour

export function TokenText({ tokens }: { tokens: Token[] }) {
  const [at, setAt] = useState<number | null>(null);
  const list = useRef<HTMLDivElement>(null);
  const onKey = (event: KeyboardEvent) => {
    const step = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
    const next = (at ?? 0) + step;
    if (!step || next < 0 || next >= tokens.length) return;
    event.preventDefault();
    list.current?.querySelectorAll<HTMLElement>("[data-token]")[next]?.focus();
  };
  const token = at === null ? undefined : tokens[at];
  return (
    <div class="token-text">
      <div ref={list} dir="auto" class="tokens" onKeyDown={onKey} onMouseLeave={() => setAt(null)}>
        {tokens.map((each, index) => (
          <span
            key={index}
            role="button"
            data-token
            data-level={levelOf(each.logprob)}
            tabIndex={index === (at ?? 0) ? 0 : -1}
            aria-label={words.token(each.text, percent(each.logprob))}
            onFocus={() => setAt(index)}
            onMouseEnter={() => setAt(index)}
          >
            {each.text}
          </span>
        ))}
      </div>
      <div class="likely" role="status">
        {token && (
          <>
            <b>{words.token(shownText(token.text), percent(token.logprob))}</b>
            <span class="hint">{words.others}:</span>
            {token.others.map((other) => (
              <span key={other.text} class="likely-token">
                <code>{shownText(other.text)}</code> {percent(other.logprob)}
              </span>
            ))}
          </>
        )}
      </div>
    </div>
  );
}

function levelOf(logprob: number): number {
  const found = LEVELS.findIndex((each) => Math.exp(logprob) >= each);
  return found < 0 ? LEVELS.length : found;
}

function percent(logprob: number): string {
  const share = Math.exp(logprob) * 100;
  return `${share < 1 ? share.toPrecision(1) : share.toFixed(0)} %`;
}

function shownText(text: string): string {
  return text.replace(/\n/g, "⏎").replace(/ /g, "␣");
}
