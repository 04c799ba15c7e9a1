// One model: how it is, how full its KV cache is, and what each slot holds: a prefix that waits, or a request's prompt
// and answer.

import { strings } from "../strings";
import { count, percent, size } from "./numbers";
import type { Model, Slot } from "./state";

const words = strings.server.model;

export function ModelPanel({ model }: { model: Model }) {
  return (
    <section class="panel" aria-label={model.id}>
      <h2>
        {model.id} <span class={`model-state state-${model.state}`}>{words.states[model.state] ?? model.state}</span>
      </h2>
      {model.reason && <p class="fault">{model.reason}</p>}
      {model.loading && (
        <label class="loading">
          {words.loading(size(model.loading.read), size(model.loading.total))}
          <progress max={model.loading.total} value={model.loading.read} />
        </label>
      )}
      {model.engine && (
        <>
          <p class="hint">{words.about(model.engine, model.device ?? "", count(model.context ?? 0))}</p>
          <dl class="model-figures">
            <Figure name={words.running} value={`${model.running} / ${model.parallel}`} />
            <Figure name={words.waiting} value={count(model.waiting)} />
            {model.inputs > 0 && <Figure name={words.inputs} value={count(model.inputs)} />}
            <Figure name={words.cached} value={share(model)} />
          </dl>
          <p class="meter-name">{words.kv(count(model.kv_used), count(model.kv_tokens))}</p>
          <div class="meter" aria-hidden="true">
            <span class="meter-part" style={{ width: percent(model.kv_used, model.kv_tokens) }} />
          </div>
          <Slots slots={model.slots} context={model.context ?? 1} />
        </>
      )}
    </section>
  );
}

function Figure({ name, value }: { name: string; value: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{value}</dd>
    </div>
  );
}

/** Of the tokens of prompts since the view was opened, those that were in the cache. */
function share({ counts }: Model): string {
  const all = counts.cached + counts.computed;
  return all ? `${Math.round((100 * counts.cached) / all)} %` : "–";
}

function Slots({ slots, context }: { slots: Slot[]; context: number }) {
  if (!slots.length) return <p class="hint">{words.noSlots}</p>;
  return (
    <>
      <h3>{words.slots}</h3>
      <ul class="slots">
        {slots.map((slot) => {
          const prompt = Math.min(slot.prompt ?? slot.held, slot.held);
          const cached = slot.request ? Math.min(slot.cached ?? 0, prompt) : prompt;
          return (
            <li key={slot.slot}>
              <span class="slot-name">{slot.slot}</span>
              <span class="track" aria-hidden="true">
                <span class="part phase-cached" style={{ width: percent(cached, context) }} />
                <span class="part phase-prompt" style={{ width: percent(prompt - cached, context) }} />
                <span class="part phase-content" style={{ width: percent(slot.held - prompt, context) }} />
              </span>
              <span class="slot-text">{describe(slot)}</span>
            </li>
          );
        })}
      </ul>
    </>
  );
}

function describe(slot: Slot): string {
  const held = count(slot.held);
  if (!slot.request) return slot.offloaded ? words.offloaded(held) : words.prefix(held);
  const prompt = slot.prompt ?? 0;
  if (slot.held < prompt) return words.prefill(held, count(prompt), count(slot.cached ?? 0));
  return words.decode(count(prompt), count(slot.cached ?? 0), count(slot.held - prompt));
}
