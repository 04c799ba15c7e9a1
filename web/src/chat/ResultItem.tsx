// What a function returned that the model had called.

import { strings } from "../strings";
import type { Message } from "./conversation";

export function ResultItem({ message }: { message: Message }) {
  return (
    <article class="result" aria-label={strings.chat.message.tool}>
      <span class="label">{strings.chat.calls.result}</span>
      <pre dir="auto">{message.text}</pre>
    </article>
  );
}
