// A field for JSON: says while one types whether it is JSON, and shows the place that the server found wrong.

import { useEffect, useId, useRef, useState } from "preact/hooks";
import { strings } from "../strings";
import { rangeOf } from "./jsonPlace";

const words = strings.chat.settings;
const POINTER = /\(at (\/[^()]*)\)/;

interface Properties {
  label: string;
  hint?: string;
  text: string;
  sample: string;
  rows: number;
  /** What the server said of it; "": nothing. */
  refusal: string;
  onText: (text: string) => void;
}

export function JsonField({ label, hint, text, sample, rows, refusal, onText }: Properties) {
  const field = useRef<HTMLTextAreaElement>(null);
  const id = useId();
  const refused = useRefusal(refusal, text);
  const wrong = problem(text);
  const pointer = POINTER.exec(refused)?.[1];
  useEffect(() => {
    const element = field.current;
    if (!element || pointer === undefined || wrong) return;
    const [begin, end] = rangeOf(text, pointer);
    element.setSelectionRange(begin, end);
    element.scrollTop = (text.slice(0, begin).split("\n").length - 3) * parseFloat(getComputedStyle(element).lineHeight);
  }, [refused]);
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <textarea
        ref={field}
        id={id}
        class="code-field"
        dir="ltr"
        rows={rows}
        spellcheck={false}
        value={text}
        placeholder={hint}
        aria-invalid={Boolean(wrong || refused)}
        aria-describedby={`${id}-told`}
        onInput={(event) => onText(event.currentTarget.value)}
      />
      {!text.trim() && (
        <button type="button" class="link" onClick={() => onText(sample)}>
          {words.sample}
        </button>
      )}
      <div id={`${id}-told`} class="fault field-told" role="alert">
        {wrong && <p>{words.notJson(wrong)}</p>}
        {refused && (
          <p dir="auto">
            {words.refused} {refused}
          </p>
        )}
        {refused && pointer !== undefined && (
          <p>
            <button type="button" class="link" onClick={() => showPlace(field.current, text, pointer)}>
              {words.place(pointer)}
            </button>
          </p>
        )}
      </div>
    </div>
  );
}

/** What is wrong with the text as JSON; "" where nothing is. */
function problem(text: string): string {
  if (!text.trim()) return "";
  try {
    JSON.parse(text);
    return "";
  } catch (error) {
    return (error as Error).message;
  }
}

/** The refusal, until the text is another one than what was refused. */
function useRefusal(refusal: string, text: string): string {
  const [of, setOf] = useState({ refusal: "", text: "" });
  useEffect(() => setOf({ refusal, text }), [refusal]);
  return of.refusal === refusal && of.text === text ? refusal : "";
}

function showPlace(element: HTMLTextAreaElement | null, text: string, pointer: string): void {
  element?.focus();
  element?.setSelectionRange(...rangeOf(text, pointer));
}
