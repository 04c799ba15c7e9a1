// What is said: the messages of the conversation that is shown, and the place to write the next one.

import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { Icon } from "../Icon";
import { IconButton } from "../IconButton";
import { strings } from "../strings";
import { AnswerItem } from "./AnswerItem";
import { Composer } from "./Composer";
import { ModelChoice } from "./ModelChoice";
import { QuestionItem } from "./QuestionItem";
import { ResultItem } from "./ResultItem";
import { ask, coming, stop } from "./answers";
import type { Message } from "./conversation";
import { current, shown } from "./desk";
import { models, named, unknown } from "./models";

const NEAR = 80; // pixels from the end within which the page follows what comes

interface Properties {
  side: boolean;
  settings: boolean;
  onSide: () => void;
  onSettings: () => void;
}

export function Thread({ side, settings, onSide, onSettings }: Properties) {
  const words = strings.chat;
  const conversation = current.value;
  const messages = shown.value;
  const [editing, setEditing] = useState<string | null>(null);
  const { box, away, toEnd } = useFollowing(conversation.id, messages);
  const last = messages.at(-1);
  const active = last && last.id in coming.value ? last.id : null;
  useEffect(() => setEditing(null), [conversation.id]);
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.key === "Escape" && active && !document.querySelector("dialog[open], details.menu[open]")) stop(active);
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, [active]);
  const editLast = () => setEditing(messages.findLast((each) => each.role === "user")?.id ?? null);
  return (
    <main class="thread">
      <div class="thread-head">
        {!side && <IconButton icon="list" label={words.conversations.show} expanded={false} onClick={onSide} />}
        <ModelChoice />
        <IconButton
          icon="sliders"
          label={settings ? words.settings.hide : words.settings.show}
          expanded={settings}
          onClick={onSettings}
        />
      </div>
      <div class="messages" ref={box} role="region" aria-label={words.thread.label} tabIndex={0}>
        {messages.length === 0 ? (
          <Greeting />
        ) : (
          <ol>
            {messages.map((each) => (
              <li key={each.id}>
                <Item message={each} last={each.id === last?.id} editing={editing === each.id} onEdit={setEditing} />
              </li>
            ))}
          </ol>
        )}
      </div>
      <div class="foot">
        {away && (
          <button class="to-end" onClick={toEnd} aria-label={words.thread.latest} title={words.thread.latest}>
            <Icon name="down" />
          </button>
        )}
        <Composer active={active} onUp={editLast} onSend={(text, files) => (ask(conversation, last?.id ?? null, text, files), toEnd())} />
      </div>
      <Announcer last={last} />
    </main>
  );
}

function Item({ message, last, editing, onEdit }: { message: Message; last: boolean; editing: boolean; onEdit: (id: string | null) => void }) {
  if (message.role === "user") {
    return <QuestionItem message={message} editing={editing} onEdit={(on) => onEdit(on ? message.id : null)} />;
  }
  if (message.role === "tool") return <ResultItem message={message} />;
  return <AnswerItem message={message} last={last} />;
}

function Greeting() {
  const words = strings.chat.thread;
  const model = named(current.value.settings.model);
  if (unknown.value && !models.value) return <p class="greeting fault">{unknown.value.message}</p>;
  if (!model) return <p class="greeting">{models.value ? strings.chat.composer.noModel : strings.shell.loading}</p>;
  return (
    <div class="greeting">
      <h1>{words.greeting}</h1>
      <p>{words.private(model.id)}</p>
      <div class="starters">
        {words.starters.map((each) => (
          <button key={each} onClick={() => ask(current.value, null, each, [])}>
            {each}
          </button>
        ))}
      </div>
    </div>
  );
}

/** Says to screen readers that an answer is there: not each of its words, which would never end. */
function Announcer({ last }: { last: Message | undefined }) {
  const words = strings.chat.thread;
  const was = useRef<string | undefined>(undefined);
  const [told, setTold] = useState("");
  useEffect(() => {
    if (was.current === "coming" && last?.state !== "coming") {
      const beginning = last?.text ?? "";
      setTold(last?.state === "stopped" ? words.stopped : (last?.fault?.message ?? `${words.done} ${beginning}`));
    }
    was.current = last?.state;
  }, [last?.id, last?.state]);
  return (
    <div class="unseen" role="status">
      {told}
    </div>
  );
}

/** A box that stays at its end while more comes, unless a person has scrolled up. */
function useFollowing(conversation: string, messages: Message[]) {
  const box = useRef<HTMLDivElement>(null);
  const follows = useRef(true);
  const [away, setAway] = useState(false);
  const toEnd = () => {
    follows.current = true;
    setAway(false);
    box.current?.scrollTo({ top: box.current.scrollHeight });
  };
  useLayoutEffect(toEnd, [conversation]);
  useLayoutEffect(() => {
    if (follows.current) box.current?.scrollTo({ top: box.current.scrollHeight });
  }, [messages]);
  useEffect(() => {
    const element = box.current;
    const onScroll = () => {
      if (!element) return;
      follows.current = element.scrollHeight - element.scrollTop - element.clientHeight < NEAR;
      setAway(!follows.current);
    };
    element?.addEventListener("scroll", onScroll, { passive: true });
    return () => element?.removeEventListener("scroll", onScroll);
  }, []);
  return { box, away, toEnd };
}
