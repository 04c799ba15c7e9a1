// The chat: conversations at one side, the model and its parameters at the other, and between them what is said.

import { useEffect, useState } from "preact/hooks";
import { strings } from "../strings";
import { Conversations } from "./Conversations";
import { KeysDialog } from "./KeysDialog";
import { SettingsPanel } from "./SettingsPanel";
import { Thread } from "./Thread";
import { begin, openDesk, opened } from "./desk";
import { look } from "./models";
import { learn } from "./parameters";
import "./chat.css";

const WIDE = "(min-width: 1100px)";
let starting: Promise<void> | null = null;

export function ChatView() {
  const [side, setSide] = useState(() => matchMedia(WIDE).matches);
  const [settings, setSettings] = useState(false);
  const [keys, setKeys] = useState(false);
  useEffect(() => {
    starting ??= openDesk();
    void look();
    learn().catch(() => undefined); // the panel says so, and tries again
  }, []);
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      const letter = event.altKey && !event.ctrlKey && !event.metaKey ? event.code : "";
      if (letter === "KeyN") begin();
      else if (letter === "KeyC") setSide((open) => !open);
      else if (letter === "KeyP") setSettings((open) => !open);
      else if (event.key === "/" && !isField(event.target)) document.getElementById("message")?.focus();
      else return;
      event.preventDefault();
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, []);
  if (!opened.value) return <main class="waiting">{strings.shell.loading}</main>;
  const close = () => {
    if (!matchMedia(WIDE).matches) setSide(false);
  };
  return (
    <div class="chat" data-side={side} data-settings={settings}>
      {side && <Conversations onClose={() => setSide(false)} onChosen={close} onKeys={() => setKeys(true)} />}
      <Thread side={side} settings={settings} onSide={() => setSide(!side)} onSettings={() => setSettings(!settings)} />
      {settings && <SettingsPanel onClose={() => setSettings(false)} />}
      {keys && <KeysDialog onClose={() => setKeys(false)} />}
    </div>
  );
}

function isField(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && target.matches("input, textarea, select");
}
