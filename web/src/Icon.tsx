// Icons: lines on a grid of 24 × 24, drawn in the colour of the text.

const LINES = {
  again: "M4 12a8 8 0 1 1 2.3 5.7M4 12V6m0 6h6",
  attach: "M20 11l-8.5 8.5a5 5 0 0 1-7-7L13 4a3.5 3.5 0 0 1 5 5l-8.5 8.500a2 2 0 0 1-3-3L14 7",
  check: "M5 12.5l5 5L19 7",
  close: "M6 6l12 12M18 6L6 18",
  copy: "M9 9h10v11H9zM15 9V4H5v11h4",
  down: "M12 5v14M6 13l6 6 6-6",
  edit: "M4 20h4L19 9l-4-4L4 16zM13 7l4 4",
  export: "M12 4v11M7 9l5-5 5 5M5 15v5h14v-5",
  figures: "M5 20V10M12 20V4M19 20v-7",
  go: "M7 5l11 7-11 7z",
  keys: "M3 6h18v12H3zM7 10h.01M11 10h.01M15 10h.01M8 14h8",
  left: "M15 5l-7 7 7 7",
  list: "M4 6h16M4 12h16M4 18h10",
  microphone: "M12 4a3 3 0 0 0-3 3v5a3 3 0 0 0 6 0V7a3 3 0 0 0-3-3zM6 11v1a6 6 0 0 0 12 0v-1M12 18v3",
  more: "M5 12h.01M12 12h.01M19 12h.01",
  plus: "M12 5v14M5 12h14",
  remove: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
  right: "M9 5l7 7-7 7",
  send: "M12 19V5M6 11l6-6 6 6",
  sliders: "M4 8h9m4 0h3M4 16h3m4 0h9M15 6v4M9 14v4",
  stop: "M7 7h10v10H7z",
  theme: "M12 4a8 8 0 1 0 .01 0zM12 8a4 4 0 0 1 0 8z",
  warning: "M12 4l9 16H3zM12 10v5M12 17.500h.01",
};

export type IconName = keyof typeof LINES;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class={`icon icon-${name}`} viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      <path d={LINES[name]} />
    </svg>
  );
}
