// The conversations of this browser: choose one, begin one, delete one, take them out and in.

import { useRef, useState } from "preact/hooks";
import { Icon } from "../Icon";
import { IconButton } from "../IconButton";
import { strings } from "../strings";
import type { Conversation } from "./conversation";
import { begin, current, list, remove, takeIn } from "./desk";
import { kept } from "./store";
import { asMarkdown } from "./markdownFile";
import { asJson, download, fromFile } from "./transfer";

const words = strings.chat.conversations;

interface Properties {
  onClose: () => void;
  onChosen: () => void;
  onKeys: () => void;
}

export function Conversations({ onClose, onChosen, onKeys }: Properties) {
  const file = useRef<HTMLInputElement>(null);
  const [told, setTold] = useState("");
  const [gone, setGone] = useState<Conversation | null>(null);
  const importFile = async () => {
    const chosen = file.current?.files?.[0];
    const found = chosen ? fromFile(await chosen.text()) : [];
    takeIn(found);
    setTold(found.length ? words.imported(found.length) : words.notImported);
    if (file.current) file.current.value = "";
  };
  const forget = (conversation: Conversation) => {
    remove(conversation.id);
    setGone(conversation);
    setTold(words.removed);
  };
  const undo = () => {
    if (gone) takeIn([gone]);
    setGone(null);
    setTold("");
  };
  return (
    <aside class="side conversations" aria-label={words.title}>
      <div class="side-head">
        <button class="fresh" onClick={() => (begin(), onChosen())}>
          <Icon name="plus" /> {words.fresh}
        </button>
        <IconButton icon="close" label={words.hide} onClick={onClose} />
      </div>
      {!kept.value && <p class="hint fault">{words.unkept}</p>}
      <ul class="side-body">
        {list.value.map((each) => (
          <Entry key={each.id} conversation={each} onChosen={onChosen} onRemove={() => forget(each)} />
        ))}
        {list.value.length === 0 && <li class="hint">{words.none}</li>}
      </ul>
      <div class="told" role="status">
        {told}
        {gone && told === words.removed && (
          <button class="link" onClick={undo}>
            {words.undo}
          </button>
        )}
      </div>
      <div class="side-foot">
        <button class="quiet" onClick={() => file.current?.click()}>
          {words.import}
        </button>
        <button class="quiet" disabled={!list.value.length} onClick={() => download("nitro-conversations.json", asJson(list.value))}>
          {words.exportAll}
        </button>
        <button class="quiet" onClick={onKeys}>
          {strings.chat.keys.open}
        </button>
        <input ref={file} type="file" accept=".json,.md,application/json,text/markdown" hidden onChange={importFile} aria-label={words.import} />
      </div>
    </aside>
  );
}

function Entry({ conversation, onChosen, onRemove }: { conversation: Conversation; onChosen: () => void; onRemove: () => void }) {
  const title = conversation.title || words.untitled;
  const menu = useRef<HTMLDetailsElement>(null);
  const doing = (what: () => void) => () => {
    what();
    menu.current?.removeAttribute("open");
  };
  const leave = (event: FocusEvent) => {
    if (!menu.current?.contains(event.relatedTarget as Node | null)) menu.current?.removeAttribute("open");
  };
  const close = (event: KeyboardEvent) => {
    if (event.key === "Escape") menu.current?.removeAttribute("open");
  };
  return (
    <li class="entry" aria-current={conversation.id === current.value.id}>
      <a href={`#chat/${conversation.id}`} onClick={onChosen} dir="auto" title={title}>
        {title}
      </a>
      <details ref={menu} class="menu" onFocusOut={leave} onKeyDown={close}>
        <summary aria-label={words.more(title)} title={words.more(title)}>
          <Icon name="more" />
        </summary>
        <div class="menu-body">
          <button onClick={doing(() => download(`${fileName(title)}.md`, asMarkdown(conversation)))}>{words.exportMarkdown}</button>
          <button onClick={doing(() => download(`${fileName(title)}.json`, asJson([conversation])))}>{words.exportJson}</button>
          <button class="fault" onClick={doing(onRemove)}>
            {words.remove(title)}
          </button>
        </div>
      </details>
    </li>
  );
}

function fileName(title: string): string {
  return title.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "").slice(0, 40) || "conversation";
}
