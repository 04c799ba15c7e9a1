// Where a person writes: text, and where the model takes them, images and sounds by file, drop, paste and microphone.

import { useEffect, useRef, useState } from "preact/hooks";
import { Icon } from "../Icon";
import { IconButton } from "../IconButton";
import { strings } from "../strings";
import { Attachments } from "./Attachments";
import { stop } from "./answers";
import type { Attachment } from "./conversation";
import { current } from "./desk";
import { attachmentOf, dataUrl } from "./files";
import { named } from "./models";
import { type Recording, canRecord, record } from "./recording";

const words = strings.chat.composer;
const ABILITY = { image: "vision", audio: "audio" } as const;

interface Properties {
  /** The answer that is on its way. */
  active: string | null;
  onSend: (text: string, attachments: Attachment[]) => void;
  onUp: () => void;
}

export function Composer({ active, onSend, onUp }: Properties) {
  const field = useRef<HTMLTextAreaElement>(null);
  const [text, setText] = useState("");
  const { attachments, told, take, add, removeAt, clear, tell } = useAttachments();
  const [over, setOver] = useState(false);
  const conversation = current.value.id;
  useEffect(() => {
    if (matchMedia("(hover: hover)").matches) field.current?.focus(); // elsewhere a keyboard would cover the page
  }, [conversation]);
  const send = () => {
    if (active || (!text.trim() && !attachments.length)) return;
    onSend(text.trim(), attachments);
    setText("");
    clear();
  };
  const onKey = (event: KeyboardEvent) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) send();
    else if (event.key === "ArrowUp" && !text) onUp();
    else return;
    event.preventDefault();
  };
  const takeFrom = (event: Event, data: DataTransfer | null) => {
    if (!data?.files.length) return;
    event.preventDefault();
    void take([...data.files]);
  };
  return (
    <form
      class="composer"
      data-over={over}
      onSubmit={(event) => (event.preventDefault(), send())}
      onDragOver={(event) => (event.preventDefault(), setOver(true))}
      onDragLeave={() => setOver(false)}
      onDrop={(event) => (setOver(false), takeFrom(event, event.dataTransfer))}
    >
      {attachments.length > 0 && <Attachments attachments={attachments} onRemove={removeAt} />}
      <div class="composer-line">
        <div class="grower" data-text={`${text} `}>
          <textarea
            ref={field}
            id="message"
            rows={1}
            dir="auto"
            value={text}
            placeholder={over ? words.drop : words.placeholder}
            aria-label={words.label}
            aria-keyshortcuts="/"
            onInput={(event) => setText(event.currentTarget.value)}
            onKeyDown={onKey}
            onPaste={(event) => takeFrom(event, event.clipboardData)}
          />
        </div>
        <MediaButtons onFiles={take} onSound={add} onFault={tell} />
        {active ? (
          <button type="button" class="primary round" onClick={() => stop(active)} aria-label={words.stop} title={words.stop}>
            <Icon name="stop" />
          </button>
        ) : (
          <button class="primary round" aria-label={words.send} title={words.send} disabled={!text.trim() && !attachments.length}>
            <Icon name="send" />
          </button>
        )}
      </div>
      <p class="told fault" role="alert">
        {told}
      </p>
    </form>
  );
}

/** Files that wait to be sent, and what is wrong with one. */
function useAttachments() {
  const [attachments, setAttachments] = useState<Attachment[]>([]);
  const [told, tell] = useState("");
  const add = (more: Attachment) => setAttachments((before) => [...before, more]);
  const take = async (files: File[]) => {
    tell("");
    for (const file of files) {
      const found = await attachmentOf(file).catch(() => undefined);
      if (found === undefined) tell(words.unreadable(file.name));
      else if (!found || !takes(found.kind)) tell(words.unfit(file.name));
      else add(found);
    }
  };
  const removeAt = (index: number) => setAttachments((before) => before.filter((_, at) => at !== index));
  const clear = () => (setAttachments([]), tell(""));
  return { attachments, told, take, add, removeAt, clear, tell };
}

interface MediaProperties {
  onFiles: (files: File[]) => void;
  onSound: (sound: Attachment) => void;
  onFault: (told: string) => void;
}

function MediaButtons({ onFiles, onSound, onFault }: MediaProperties) {
  const input = useRef<HTMLInputElement>(null);
  const [recording, setRecording] = useState<Recording | null>(null);
  const seconds = useSeconds(recording !== null);
  const kinds = (["image", "audio"] as const).filter(takes);
  const toggle = async () => {
    try {
      if (!recording) return setRecording(await record());
      setRecording(null);
      onSound({ kind: "audio", name: strings.chat.message.sound, url: await dataUrl(await recording.stop()) });
    } catch {
      onFault(words.noMicrophone);
    }
  };
  if (!kinds.length) return null;
  return (
    <>
      <input
        ref={input}
        type="file"
        hidden
        multiple
        accept={kinds.map((each) => `${each}/*`).join(",")}
        aria-label={words.attach}
        onChange={(event) => {
          onFiles([...(event.currentTarget.files ?? [])]);
          event.currentTarget.value = "";
        }}
      />
      <IconButton icon="attach" label={words.attach} onClick={() => input.current?.click()} />
      {recording && (
        <span class="recorded" role="timer">
          {`${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`}
        </span>
      )}
      {kinds.includes("audio") && canRecord && (
        <IconButton
          icon={recording ? "stop" : "microphone"}
          label={recording ? words.recording : words.record}
          pressed={recording !== null}
          onClick={toggle}
        />
      )}
    </>
  );
}

/** Seconds since this began to be so. */
function useSeconds(running: boolean): number {
  const [seconds, setSeconds] = useState(0);
  useEffect(() => {
    if (!running) return;
    setSeconds(0);
    const timer = setInterval(() => setSeconds((before) => before + 1), 1000);
    return () => clearInterval(timer);
  }, [running]);
  return seconds;
}

function takes(kind: Attachment["kind"]): boolean {
  return Boolean(named(current.value.settings.model)?.capabilities[ABILITY[kind]]);
}
