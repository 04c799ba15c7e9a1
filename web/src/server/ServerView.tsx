// What the server is doing now: its models and their memory, slots and queue, how fast it is, and its requests.

import { useEffect } from "preact/hooks";
import { strings } from "../strings";
import { Chart } from "./Chart";
import { MemoryBar } from "./MemoryBar";
import { ModelPanel } from "./ModelPanel";
import { Requests } from "./Requests";
import { history, listen, live, seconds } from "./live";
import { count, time } from "./numbers";
import "./server.css";

const words = strings.server;

export function ServerView() {
  useEffect(listen, []);
  const { connection, refusal, version, memory, models } = live.value;
  if (connection === "refused") return <main class="view fault">{refusal}</main>;
  return (
    <main class="view server">
      <h1 class="unseen">{strings.shell.views.server}</h1>
      <p class="hint" role="status">
        {words.connection[connection]} {version && words.version(version)}
      </p>
      <div class="panels">
        <Speed />
        <MemoryBar memory={memory} models={models} />
        {models.map((model) => (
          <ModelPanel key={model.id} model={model} />
        ))}
        <Requests />
      </div>
    </main>
  );
}

function Speed() {
  seconds.value; // the numbers are another second's
  const latest = (values: (number | null)[]) => values.at(-1) ?? 0;
  const first = history.first.filter((value) => value !== null).at(-1);
  const { answer, prompt, ttft } = words.charts;
  return (
    <section class="panel wide charts" aria-label={words.charts.title}>
      <Chart
        title={words.charts.speed}
        times={history.times}
        least={10}
        format={count}
        lines={[
          { label: answer, tint: "tint-answer", values: history.generated, latest: count(latest(history.generated)) },
          { label: prompt, tint: "tint-prompt", values: history.computed, latest: count(latest(history.computed)) },
        ]}
      />
      <Chart
        title={words.charts.first}
        times={history.times}
        least={1}
        format={time}
        points
        lines={[
          { label: ttft, tint: "tint-first", values: history.first, latest: first === undefined ? "–" : time(first) },
        ]}
      />
    </section>
  );
}
