// Goes through the versions of a message: what was there before it was edited, or answered again.

import { IconButton } from "../IconButton";
import { strings } from "../strings";
import { type Message, choosing, versions } from "./conversation";
import { current, update } from "./desk";

export function VersionChoice({ message }: { message: Message }) {
  const words = strings.chat.message;
  const conversation = current.value;
  const found = versions(conversation, message);
  const index = found.findIndex((each) => each.id === message.id);
  if (found.length < 2) return null;
  const show = (other: Message | undefined) => other && update(conversation.id, (before) => choosing(before, other));
  return (
    <span class="versions" role="group" aria-label={words.branch(index + 1, found.length)}>
      <IconButton icon="left" label={words.previous} disabled={index === 0} onClick={() => show(found[index - 1])} />
      <span aria-hidden="true">
        {index + 1}/{found.length}
      </span>
      <IconButton icon="right" label={words.next} disabled={index === found.length - 1} onClick={() => show(found[index + 1])} />
    </span>
  );
}
