// A field for one parameter, made from the server's description of it. An empty field leaves it to the server.

import { useId, useState } from "preact/hooks";
import { strings } from "../strings";
import { current, updateSettings } from "./desk";
import type { Parameter } from "./parameters";

const words = strings.chat.settings;

export function ParameterField({ parameter, preset }: { parameter: Parameter; preset: unknown }) {
  const id = useId();
  const values = current.value.settings.parameters;
  const set = (value: unknown) => {
    const { [parameter.name]: _, ...rest } = values;
    updateSettings({ parameters: value === undefined ? rest : { ...rest, [parameter.name]: value } });
  };
  const common = { id, "aria-describedby": `${id}-about` };
  const value = values[parameter.name];
  return (
    <div class="parameter">
      <label for={id}>{parameter.name}</label>
      <Input parameter={parameter} preset={preset} value={value} set={set} common={common} />
      <p id={`${id}-about`} class="hint">
        {parameter.description.split("`").map((part, index) => (index % 2 ? <code key={index}>{part}</code> : part))}
      </p>
    </div>
  );
}

interface InputProperties {
  parameter: Parameter;
  preset: unknown;
  value: unknown;
  set: (value: unknown) => void;
  common: { id: string; "aria-describedby": string };
}

function Input({ parameter, preset, value, set, common }: InputProperties) {
  const { kind, minimum, maximum, choices } = parameter;
  const placeholder = preset === undefined ? words.unset : `${words.unset}: ${String(preset)}`;
  if (kind === "number" || kind === "integer") {
    return (
      <input
        {...common}
        type="number"
        min={minimum}
        max={maximum}
        step={kind === "integer" ? 1 : "any"}
        placeholder={placeholder}
        value={value === undefined ? "" : String(value)}
        onChange={(event) => set(event.currentTarget.value === "" ? undefined : event.currentTarget.valueAsNumber)}
      />
    );
  }
  if (kind === "switch" || kind === "choice") {
    const known = kind === "switch" ? ["true", "false"] : choices;
    const shown = kind === "switch" ? [words.on, words.off] : choices;
    const read = (text: string) => (text === "" ? undefined : kind === "switch" ? text === "true" : text);
    return (
      <select {...common} value={value === undefined ? "" : String(value)} onChange={(event) => set(read(event.currentTarget.value))}>
        <option value="">{words.choose}</option>
        {known.map((each, index) => (
          <option key={each} value={each}>
            {shown[index]}
          </option>
        ))}
      </select>
    );
  }
  if (kind === "text") {
    return <input {...common} type="text" dir="auto" placeholder={words.unset} value={String(value ?? "")} onChange={(event) => set(event.currentTarget.value || undefined)} />;
  }
  return <JsonInput value={value} set={set} common={common} />;
}

/** Lists and objects; a text that is no JSON is a string. */
function JsonInput({ value, set, common }: Pick<InputProperties, "value" | "set" | "common">) {
  const [text, setText] = useState(value === undefined ? "" : JSON.stringify(value));
  const read = (typed: string) => {
    setText(typed);
    set(typed.trim() === "" ? undefined : parsed(typed));
  };
  return <input {...common} type="text" class="code-field" dir="ltr" placeholder={words.unset} value={text} onChange={(event) => read(event.currentTarget.value)} />;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
