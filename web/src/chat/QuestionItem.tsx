// A message of the person, which can be edited: what follows it then begins anew, and the old version stays.

import { useEffect, useRef } from "preact/hooks";
import { CopyButton } from "../CopyButton";
import { IconButton } from "../IconButton";
import { strings } from "../strings";
import { Attachments } from "./Attachments";
import { VersionChoice } from "./VersionChoice";
import { ask } from "./answers";
import type { Message } from "./conversation";
import { current } from "./desk";

const words = strings.chat.message;

export function QuestionItem({ message, editing, onEdit }: { message: Message; editing: boolean; onEdit: (on: boolean) => void }) {
  return (
    <article class="question" aria-label={words.you}>
      {message.attachments?.length ? <Attachments attachments={message.attachments} /> : null}
      {editing ? (
        <Editor message={message} onDone={() => onEdit(false)} />
      ) : (
        message.text && (
          <div class="said" dir="auto">
            {message.text}
          </div>
        )
      )}
      {!editing && (
        <div class="actions">
          <VersionChoice message={message} />
          <IconButton icon="edit" label={words.edit} onClick={() => onEdit(true)} />
          <CopyButton text={message.text} />
        </div>
      )}
    </article>
  );
}

function Editor({ message, onDone }: { message: Message; onDone: () => void }) {
  const field = useRef<HTMLTextAreaElement>(null);
  useEffect(() => {
    field.current?.focus();
    field.current?.setSelectionRange(message.text.length, message.text.length);
  }, []);
  const send = () => {
    const text = field.current?.value.trim();
    if (text) ask(current.value, message.parent, text, message.attachments ?? []);
    onDone();
  };
  const onKey = (event: KeyboardEvent) => {
    if (event.key === "Escape") onDone();
    else if (event.key === "Enter" && !event.shiftKey && !event.isComposing) send();
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  return (
    <div class="editor">
      <textarea ref={field} defaultValue={message.text} dir="auto" rows={3} aria-label={words.editor} onKeyDown={onKey} />
      <div>
        <button onClick={onDone}>{words.cancel}</button>
        <button class="primary" onClick={send}>
          {words.save}
        </button>
      </div>
    </div>
  );
}
