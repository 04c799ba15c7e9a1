// An answer of the model: its reasoning, its text, its calls, what went wrong, what was measured, and what can be done
// with it.

import { useState } from "preact/hooks";
import { CopyButton } from "../CopyButton";
import { Icon } from "../Icon";
import { IconButton } from "../IconButton";
import { strings } from "../strings";
import { Markdown } from "../text/Markdown";
import { Calls } from "./Calls";
import { FiguresLine } from "./FiguresLine";
import { TokenText } from "./TokenText";
import { VersionChoice } from "./VersionChoice";
import { again, coming, goOn } from "./answers";
import type { Message } from "./conversation";
import { current } from "./desk";

const words = strings.chat.message;

export function AnswerItem({ message, last }: { message: Message; last: boolean }) {
  const [asTokens, setAsTokens] = useState(false);
  const wait = coming.value[message.id];
  const busy = message.state === "coming";
  const nothing = !message.text && !message.reasoning && !message.calls?.length;
  return (
    <article class="answer" aria-label={words.model} aria-busy={busy}>
      {message.reasoning ? <Reasoning text={message.reasoning} busy={busy && !message.text} /> : null}
      {asTokens && message.tokens ? <TokenText tokens={message.tokens} /> : message.text && <Markdown text={message.text} />}
      {busy && nothing && <p class="hint pulse">{wait ? words.starting(wait) : words.waiting}</p>}
      {message.calls && <Calls message={message} answerable={last && message.state === "whole"} />}
      {message.fault && (
        <p class="failure" role="alert">
          <Icon name="warning" />
          <span dir="auto">{message.fault.message}</span>
        </p>
      )}
      {!busy && <Actions message={message} last={last} asTokens={asTokens} onTokens={() => setAsTokens(!asTokens)} />}
    </article>
  );
}

function Reasoning({ text, busy }: { text: string; busy: boolean }) {
  return (
    <details class="reasoning">
      <summary class={busy ? "pulse" : ""}>{busy ? words.thinking : words.reasoning}</summary>
      <Markdown text={text} />
    </details>
  );
}

function Actions({ message, last, asTokens, onTokens }: { message: Message; last: boolean; asTokens: boolean; onTokens: () => void }) {
  const conversation = current.value;
  const unfinished = message.state === "stopped" || message.state === "cut" || message.state === "failed";
  const canGoOn = last && unfinished && Boolean(message.text) && !message.calls;
  return (
    <div class="actions">
      <VersionChoice message={message} />
      {message.text && <CopyButton text={message.text} />}
      {message.state === "failed" ? (
        <button class="plain" onClick={() => again(conversation, message)}>
          <Icon name="again" /> {words.retry}
        </button>
      ) : (
        <IconButton icon="again" label={words.again} onClick={() => again(conversation, message)} />
      )}
      {canGoOn && (
        <button class="plain" onClick={() => goOn(conversation, message)}>
          <Icon name="go" /> {words.continue}
        </button>
      )}
      {message.tokens && (
        <IconButton icon="figures" label={asTokens ? strings.chat.tokens.hide : strings.chat.tokens.show} pressed={asTokens} onClick={onTokens} />
      )}
      {message.state === "stopped" && <span class="hint">{words.stopped}</span>}
      {message.state === "cut" && <span class="hint">{words.cut}</span>}
      <FiguresLine message={message} />
    </div>
  );
}
