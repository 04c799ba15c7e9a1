// The requests of the last minutes: as a waterfall of their phases, or as a table of the same numbers. Those that are
// under way can be aborted.

import { useState } from "preact/hooks";
import { ApiError, post } from "../api";
import { strings } from "../strings";
import { live, seconds, serverTime } from "./live";
import { count, percent, time } from "./numbers";
import { PHASES, duration, phases, sums } from "./phases";
import type { Request } from "./state";

const words = strings.server.requests;
const WINDOWS = [10, 30, 120, 600]; // seconds
const MAX_ROWS = 40;

export function Requests() {
  const [asTable, setAsTable] = useState(false);
  const [span, setSpan] = useState(30);
  const [fault, setFault] = useState("");
  seconds.value; // those under way grow
  const all = live.value.requests;
  const now = serverTime();
  const right = all.some((request) => request.ended === undefined)
    ? now
    : Math.min(now, Math.max(...all.map((request) => request.began + duration(request, now))) + span / 50);
  const shown = all.filter((request) => request.began + duration(request, now) > right - span).slice(0, MAX_ROWS);
  const end = (request: Request) => {
    setFault("");
    post(`/v1/server/requests/${encodeURIComponent(request.id)}/abort`, {}).catch((error: unknown) => {
      if (!(error instanceof ApiError && error.status === 404)) setFault(String(error)); // else it has just ended
    });
  };
  return (
    <section class="panel wide" aria-labelledby="server-requests">
      <div class="panel-head">
        <h2 id="server-requests">{words.title}</h2>
        <label class="window">
          {words.window}
          <select value={String(span)} onChange={(event) => setSpan(Number(event.currentTarget.value))}>
            {WINDOWS.map((each) => (
              <option key={each} value={String(each)}>
                {words.seconds(each)}
              </option>
            ))}
          </select>
        </label>
        <button type="button" aria-pressed={asTable} onClick={() => setAsTable(!asTable)}>
          {words.asTable}
        </button>
      </div>
      <p role="alert" class="fault">
        {fault}
      </p>
      {!shown.length && <p class="hint">{words.none}</p>}
      {shown.length > 0 && asTable && <Table requests={shown} now={now} abort={end} />}
      {shown.length > 0 && !asTable && <Waterfall requests={shown} now={now} right={right} span={span} abort={end} />}
    </section>
  );
}

interface Shown {
  requests: Request[];
  now: number;
  abort: (request: Request) => void;
}

function Waterfall({ requests, now, right, span, abort }: Shown & { right: number; span: number }) {
  return (
    <>
      <p class="phase-keys" aria-hidden="true">
        {PHASES.map((name) => (
          <span key={name} class="key">
            <span class={`swatch phase-${name}`} /> {words.phases[name]}
          </span>
        ))}
      </p>
      <ol class="waterfall">
        {requests.map((request) => (
          <li key={request.id}>
            <span class="request-name" title={request.id}>
              {name(request)}
            </span>
            <span class="track" aria-hidden="true">
              {phases(request, now).map((phase, i) => {
                const from = Math.max(request.began + phase.from, right - span);
                const to = Math.max(request.began + phase.to, from);
                const style = { left: percent(from - right + span, span), width: percent(to - from, span) };
                return <span key={i} class={`part phase-${phase.name}`} style={style} />;
              })}
            </span>
            <span class="request-text">
              {time(duration(request, now))}, {tokens(request)}
              <span class="unseen"> {spoken(request, now)}</span>
            </span>
            <End request={request} abort={abort} />
          </li>
        ))}
      </ol>
    </>
  );
}

function Table({ requests, now, abort }: Shown) {
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label={words.title}>
      <table>
        <thead>
          <tr>
            <th scope="col">{words.columns.request}</th>
            <th scope="col">{words.columns.model}</th>
            {PHASES.map((name) => (
              <th key={name} scope="col">
                {words.phases[name]}
              </th>
            ))}
            <th scope="col">{words.columns.prompt}</th>
            <th scope="col">{words.columns.cached}</th>
            <th scope="col">{words.columns.answer}</th>
            <th scope="col">{words.columns.end}</th>
          </tr>
        </thead>
        <tbody>
          {requests.map((request) => {
            const of = sums(request, now);
            return (
              <tr key={request.id}>
                <th scope="row" title={request.id}>
                  {name(request)}
                </th>
                <td>{request.model}</td>
                {PHASES.map((phase) => (
                  <td key={phase}>{of[phase] ? time(of[phase]) : ""}</td>
                ))}
                <td>{count(request.prompt_tokens ?? 0)}</td>
                <td>{count(request.cached_tokens ?? 0)}</td>
                <td>{count(request.completion_tokens ?? 0)}</td>
                <td>
                  <End request={request} abort={abort} />
                </td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}

/** How it ended, or the button that ends it. */
function End({ request, abort }: { request: Request; abort: (request: Request) => void }) {
  if (request.ended === undefined) {
    return (
      <button type="button" class="abort" aria-label={words.abortThis(name(request))} onClick={() => abort(request)}>
        {words.abort}
      </button>
    );
  }
  const failed = request.phase === "failed";
  return (
    <span class={failed ? "request-end fault" : "request-end hint"} title={request.reason}>
      {request.finish?.join(", ") || words.ends[request.phase]}
      {failed && <span class="unseen"> {request.reason}</span>}
    </span>
  );
}

const name = (request: Request): string => `${request.route.replace(/^\/v1\//, "")} ${request.id.slice(-5)}`;

const tokens = (request: Request): string =>
  request.inputs ? words.inputs(request.inputs) : words.tokens(count(request.completion_tokens ?? 0));

const spoken = (request: Request, now: number): string =>
  phases(request, now)
    .map((phase) => `${words.phases[phase.name]} ${time(phase.to - phase.from)}`)
    .join(", ");
