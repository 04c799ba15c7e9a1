// Lines over the last minutes, drawn by uPlot. Its colours are those of the legend, as the page's CSS has them; screen
// readers get the legend, with the latest numbers.

import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { LENGTH } from "./History";
import { seconds } from "./live";

export interface Line {
  label: string;
  /** The class of its colour. */
  tint: string;
  /** One for each second; null: none. The same array, changed in place. */
  values: (number | null)[];
  /** What is shown behind the label. */
  latest: string;
}

interface Props {
  title: string;
  /** Seconds of Unix time. */
  times: number[];
  lines: Line[];
  /** Single points instead of lines. */
  points?: boolean;
  format: (value: number) => string;
}

const HEIGHT = 180;

export function Chart({ title, times, lines, points = false, format }: Props) {
  const figure = useRef<HTMLElement>(null);
  const place = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot | null>(null);
  const data = () => [times, ...lines.map((line) => line.values)] as uPlot.AlignedData;

  useEffect(() => {
    const inside = place.current!;
    const made = new uPlot(options(figure.current!, lines, points, format), data(), inside);
    chart.current = made;
    const sized = new ResizeObserver(() => made.setSize({ width: inside.clientWidth, height: HEIGHT }));
    sized.observe(inside);
    return () => {
      sized.disconnect();
      made.destroy();
    };
  }, []);

  const now = seconds.value;
  useEffect(() => {
    chart.current?.setData(data());
  }, [now]);

  return (
    <figure ref={figure} class="chart">
      <figcaption>
        <span class="chart-title">{title}</span>
        {lines.map((line) => (
          <span key={line.label} class={`chart-key ${line.tint}`}>
            <span class="swatch" aria-hidden="true" />
            {line.label} <b>{line.latest}</b>
          </span>
        ))}
      </figcaption>
      <div ref={place} class="chart-place" aria-hidden="true" />
    </figure>
  );
}

function options(figure: HTMLElement, lines: Line[], points: boolean, format: Props["format"]): uPlot.Options {
  const style = getComputedStyle(figure);
  const quiet = () => style.color;
  const grid = { stroke: () => style.borderTopColor, width: 1 };
  const ticks = { ...grid, size: 4 };
  const font = "12px system-ui, sans-serif";
  return {
    width: Math.max(figure.clientWidth, 100),
    height: HEIGHT,
    legend: { show: false },
    cursor: { show: false },
    scales: {
      x: { range: (_, __, max) => [(max ?? LENGTH) - LENGTH, max ?? LENGTH] },
      y: { range: (_, __, max) => [0, max ? max * 1.1 : 1] },
    },
    axes: [
      { stroke: quiet, grid: { show: false }, ticks, font },
      { stroke: quiet, grid, ticks, font, size: 60, values: (_, marks) => marks.map((mark) => format(mark)) },
    ],
    series: [
      {},
      ...lines.map((line) => {
        const swatch = figure.querySelector(`.${line.tint} .swatch`)!;
        const stroke = () => getComputedStyle(swatch).backgroundColor;
        return points
          ? { stroke, paths: () => null, points: { show: true, size: 7, fill: stroke, stroke } }
          : { stroke, width: 2, points: { show: false } };
      }),
    ],
  };
}
