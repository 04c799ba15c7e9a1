// Lines over the last minutes, drawn by uPlot. Its colours are those of the legend, as the page's CSS has them; screen
// readers get the legend, with the latest numbers.

import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { strings } from "../strings";
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
  /** What the highest mark is at least. */
  least: number;
  format: (value: number) => string;
}

const HEIGHT = 150;
const MINUTE = 60;

export function Chart({ title, times, lines, points = false, least, format }: Props) {
  const figure = useRef<HTMLElement>(null);
  const place = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot | null>(null);
  const data = () => [times, ...lines.map((line) => line.values)] as uPlot.AlignedData;

  useEffect(() => {
    const inside = place.current!;
    const made = new uPlot(options(figure.current!, lines, points, least, format), data(), inside);
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

function options(
  figure: HTMLElement,
  lines: Line[],
  points: boolean,
  least: number,
  format: Props["format"],
): uPlot.Options {
  const style = getComputedStyle(figure);
  const quiet = () => style.color;
  const grid = { stroke: () => style.borderTopColor, width: 1 };
  const ticks = { ...grid, size: 4 };
  const font = "12px system-ui, sans-serif";
  const minutes = (chart: uPlot) => {
    const end = chart.scales["x"]!.max!;
    return Array.from({ length: LENGTH / MINUTE }, (_, i) => end - LENGTH + (i + 1) * MINUTE);
  };
  const ago = (chart: uPlot, marks: number[]) =>
    marks.map((mark) => strings.server.charts.ago(Math.round((chart.scales["x"]!.max! - mark) / MINUTE)));
  return {
    width: Math.max(figure.clientWidth, 100),
    height: HEIGHT,
    legend: { show: false },
    cursor: { show: false },
    scales: {
      x: { range: (_, __, max) => [(max ?? LENGTH) - LENGTH, max ?? LENGTH] },
      y: { range: (_, __, max) => [0, Math.max((max ?? 0) * 1.1, least)] },
    },
    axes: [
      { stroke: quiet, grid: { show: false }, ticks, font, size: 30, splits: minutes, values: ago },
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
