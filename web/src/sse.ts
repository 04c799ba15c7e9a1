// Server-sent events, read from the bytes of a response. The browser's own EventSource can send neither key nor body.
// The format: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream

/** One event: its name ("message" where it has none) and its data. */
export interface ServerEvent {
  event: string;
  data: string;
}

/** The events of a stream, in their order. */
export async function* readEvents(bytes: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<ServerEvent> {
  const reader = bytes.pipeThrough(new TextDecoderStream()).getReader();
  let event = "message";
  let data: string[] = [];
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const lines = (rest + value).split(/\r\n|\n|\r(?!$)/); // a \r at the end may be half of \r\n
      rest = lines.pop() ?? "";
      for (const line of lines) {
        if (line === "") {
          if (data.length > 0) yield { event, data: data.join("\n") };
          event = "message";
          data = [];
        } else if (line.startsWith("data:")) data.push(valueOf(line, 5));
        else if (line.startsWith("event:")) event = valueOf(line, 6);
      }
    }
  } finally {
    await reader.cancel().catch(() => undefined); // whoever listens no more has the server stop
  }
}

function valueOf(line: string, from: number): string {
  return line.slice(line[from] === " " ? from + 1 : from);
}
