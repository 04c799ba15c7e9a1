// Which model answers, and how it is.

import { strings } from "../strings";
import { current, updateSettings } from "./desk";
import { chatting, models, named, unknown } from "./models";

export function ModelChoice() {
  const words = strings.chat.settings;
  const chosen = current.value.settings.model;
  const model = named(chosen);
  const state = unknown.value ? "down" : (model?.state ?? "");
  const told = unknown.value?.message ?? model?.reason ?? words.states[state] ?? state;
  const many = chatting.value.length > 1 || (chosen && !model);
  return (
    <div class="model-choice">
      {many ? (
        <select
          aria-label={words.model}
          value={model?.id ?? ""}
          onChange={(event) => updateSettings({ model: event.currentTarget.value })}
        >
          {!model && <option value="">{chosen}</option>}
          {chatting.value.map((each) => (
            <option key={each.id}>{each.id}</option>
          ))}
        </select>
      ) : (
        <span class="model-name">{model?.id ?? (models.value ? strings.chat.composer.noModel : "")}</span>
      )}
      {state && (
        <span class="state" data-state={state} title={told} role="status">
          {words.states[state] ?? state}
        </span>
      )}
    </div>
  );
}
