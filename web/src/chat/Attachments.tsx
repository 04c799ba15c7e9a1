// The images and sounds of a message.

import { IconButton } from "../IconButton";
import { strings } from "../strings";
import type { Attachment } from "./conversation";

export function Attachments({ attachments, onRemove }: { attachments: Attachment[]; onRemove?: (index: number) => void }) {
  return (
    <ul class="attachments">
      {attachments.map((each, index) => (
        <li key={index}>
          {each.kind === "image" ? <img src={each.url} alt={each.name} /> : <audio src={each.url} controls aria-label={each.name} />}
          {onRemove && <IconButton icon="close" label={strings.chat.message.remove(each.name)} onClick={() => onRemove(index)} />}
        </li>
      ))}
    </ul>
  );
}
