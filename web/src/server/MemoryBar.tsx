// How much of the memory for models is set aside for which, and what of each model's weights is loaded.

import { strings } from "../strings";
import { percent, size } from "./numbers";
import type { Model } from "./state";

const words = strings.server.memory;

export function MemoryBar({ memory, models }: { memory: number; models: Model[] }) {
  const loaded = models.filter((model) => model.loaded);
  const used = loaded.reduce((sum, model) => sum + model.bytes, 0);
  const whole = Math.max(memory, used);
  return (
    <section class="panel" aria-labelledby="server-memory">
      <h2 id="server-memory">{words.title}</h2>
      <div class="meter" role="img" aria-label={words.of(size(used), size(whole))}>
        {loaded.map((model) => (
          <span key={model.id} class="meter-part" style={{ width: percent(model.bytes, whole) }} />
        ))}
      </div>
      <p class="hint">{words.of(size(used), size(whole))}</p>
      <ul class="plain-list">
        {loaded.map((model) => (
          <li key={model.id}>
            {model.id} <span class="hint">{size(model.bytes)}</span>
          </li>
        ))}
      </ul>
    </section>
  );
}
