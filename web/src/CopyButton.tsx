// A button that copies a text, and says that it did.

import { useState } from "preact/hooks";
import { Icon } from "./Icon";
import { strings } from "./strings";

export function CopyButton({ text }: { text: string }) {
  const [done, setDone] = useState(false);
  const copy = async () => {
    await copied(text);
    setDone(true);
    setTimeout(() => setDone(false), 1500);
  };
  const label = done ? strings.chat.message.copied : strings.chat.message.copy;
  return (
    <button class="plain" onClick={copy} title={label} aria-label={label}>
      <Icon name={done ? "check" : "copy"} />
    </button>
  );
}

async function copied(text: string): Promise<void> {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const field = document.createElement("textarea"); // pages that come over http from another machine have no clipboard
  field.value = text;
  document.body.append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
}
