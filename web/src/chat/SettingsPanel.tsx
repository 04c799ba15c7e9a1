// What an answer is asked for with: the system message, the form of the answer, tools, and every parameter that the
// server describes and the model has.

import { useEffect, useState } from "preact/hooks";
import { IconButton } from "../IconButton";
import { strings } from "../strings";
import { JsonField } from "./JsonField";
import { ParameterField } from "./ParameterField";
import { current, shown, updateSettings } from "./desk";
import { type Model, named } from "./models";
import { type Parameter, learn, parameters } from "./parameters";
import { SCHEMA_SAMPLE, TOOLS_SAMPLE } from "./samples";

const words = strings.chat.settings;

export function SettingsPanel({ onClose }: { onClose: () => void }) {
  const conversation = current.value;
  const { settings } = conversation;
  const model = named(settings.model);
  return (
    <aside class="side settings" aria-label={words.title}>
      <div class="side-head">
        <h2>{words.title}</h2>
        <IconButton icon="close" label={words.hide} onClick={onClose} />
      </div>
      <form class="side-body" key={conversation.id} onSubmit={(event) => event.preventDefault()}>
        {model && <About model={model} />}
        <label class="field">
          {words.system}
          <textarea
            rows={3}
            dir="auto"
            value={settings.system}
            placeholder={words.systemDefault(model?.default_system_message ?? "")}
            onInput={(event) => updateSettings({ system: event.currentTarget.value })}
          />
        </label>
        <FormOfAnswer />
        {(!model?.loaded || model.capabilities.tools) && (
          <JsonField
            label={words.tools}
            hint={words.toolsHint}
            rows={4}
            text={settings.tools}
            sample={TOOLS_SAMPLE}
            refusal={refusalOf("tools")}
            onText={(tools) => updateSettings({ tools })}
          />
        )}
        <label class="check">
          <input
            type="checkbox"
            checked={settings.probabilities}
            onChange={(event) => updateSettings({ probabilities: event.currentTarget.checked })}
          />
          {words.probabilities}
        </label>
        <Parameters model={model} />
      </form>
    </aside>
  );
}

function About({ model }: { model: Model }) {
  return (
    <dl class="about">
      <dt>{words.model}</dt>
      <dd>{model.id}</dd>
      {model.engine && <dd class="hint">{model.engine}</dd>}
      {model.context_length && <dd class="hint">{words.context(model.context_length.toLocaleString())}</dd>}
    </dl>
  );
}

function FormOfAnswer() {
  const { settings } = current.value;
  return (
    <>
      <label class="field">
        {words.format}
        <select value={settings.format} onChange={(event) => updateSettings({ format: event.currentTarget.value as "free" | "schema" })}>
          <option value="free">{words.formatFree}</option>
          <option value="schema">{words.formatSchema}</option>
        </select>
      </label>
      {settings.format === "schema" && (
        <JsonField
          label={words.schema}
          rows={10}
          text={settings.schema}
          sample={SCHEMA_SAMPLE}
          refusal={refusalOf("response_format")}
          onText={(schema) => updateSettings({ schema })}
        />
      )}
    </>
  );
}

function Parameters({ model }: { model: Model | undefined }) {
  const [fault, setFault] = useState(false);
  useEffect(() => void learn().catch(() => setFault(true)), []);
  const known = parameters.value;
  if (!known) return fault ? <p class="fault">{words.unavailable}</p> : null;
  const works = (each: Parameter) => !each.capability || !model?.loaded || Boolean(model.capabilities[each.capability]);
  const fields = (list: Parameter[]) =>
    list.filter(works).map((each) => <ParameterField key={each.name} parameter={each} preset={model?.default_sampling[each.name]} />);
  return (
    <fieldset class="parameters">
      <legend>{words.parameters}</legend>
      {fields(known.first)}
      <details>
        <summary>{words.more}</summary>
        {fields(known.more)}
      </details>
      <button type="button" onClick={() => updateSettings({ parameters: {} })} disabled={!Object.keys(current.value.settings.parameters).length}>
        {words.reset}
      </button>
    </fieldset>
  );
}

/** What the server said last of this parameter; "": nothing. */
function refusalOf(parameter: string): string {
  const fault = shown.value.at(-1)?.fault;
  return fault?.param === parameter || fault?.param?.startsWith(`${parameter}.`) || fault?.param?.startsWith(`${parameter}[`) ? fault.message : "";
}
