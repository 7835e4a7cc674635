// Lines over time: drag to zoom, double click for all of it, exact values at the cursor.
import { html, useEffect, useRef, useState } from "./lib.js";
import { theme } from "./state.js";

const FOLDER = new URL("../vendor/", import.meta.url);
const HEIGHT = 190;

/** @type {Promise<any> | null} */
let loading = null;

/** The library comes once the first picture is there. @returns {Promise<any>} */
function library() {
  loading ??= new Promise((resolve, reject) => {
    const style = document.createElement("link");
    style.rel = "stylesheet";
    style.href = new URL("uplot-1.6.32.min.css", FOLDER).href;
    const script = document.createElement("script");
    script.src = new URL("uplot-1.6.32.min.js", FOLDER).href;
    script.onload = () => resolve(/** @type {any} */ (window).uPlot);
    script.onerror = () => {
      loading = null;
      reject(new Error("the library of the charts can't be had"));
    };
    document.head.append(style, script);
  });
  return loading;
}

/** @param {string} name */
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** @typedef {{label: string, colour: string, values: (number | null)[], fill?: boolean}} Line */
/** @typedef {{title: string, times: number[], lines: Line[], format: (value: any) => string,
 *   top?: number, sync?: string}} ChartProps */

/** @param {any} uPlot @param {ChartProps} of @param {number} width */
function options(uPlot, of, width) {
  const grid = { stroke: colour("--line"), width: 1 };
  const axis = { stroke: colour("--quiet"), grid, ticks: { show: false }, font: "12px system-ui" };
  return {
    width,
    height: HEIGHT,
    cursor: { sync: { key: of.sync ?? of.title }, drag: { x: true, y: false }, y: false },
    legend: { live: true },
    scales: { y: { range: (/** @type {any} */ _, /** @type {number} */ low,
      /** @type {number} */ high) => [Math.min(0, low ?? 0),
      of.top ?? Math.max((high ?? 0) * 1.1, Number.EPSILON * 10, high > 0 ? 0 : 1)] } },
    axes: [
      { ...axis, space: 70 },
      { ...axis, size: 76, values: (/** @type {any} */ _, /** @type {number[]} */ splits) =>
        splits.map(of.format) },
    ],
    series: [
      { value: (/** @type {any} */ _, /** @type {number | null} */ at) => (at === null ? "now"
        : new Date(at * 1000).toLocaleString()) , label: "Time" },
      ...of.lines.map((line) => ({
        label: line.label,
        stroke: colour(line.colour),
        fill: line.fill ? `${colour(line.colour)}22` : undefined,
        width: 2,
        points: { show: false },
        paths: uPlot.paths.linear(),
        value: (/** @type {any} */ self, /** @type {any} */ value, /** @type {number} */ index) => {
          if (value === null || value === undefined) {
            const known = self.data[index] ?? [];
            return of.format(known[known.length - 1]);
          }
          return of.format(value);
        },
      })),
    ],
  };
}

/** @param {ChartProps} of */
const columns = (of) => [of.times, ...of.lines.map((line) => line.values)];

/** In words, for those who do not see it. @param {ChartProps} of */
function spoken(of) {
  const texts = of.lines.map((line) => {
    const known = /** @type {number[]} */ (line.values.filter((value) => value !== null));
    return known.length === 0 ? `${line.label}: nothing measured`
      : `${line.label}: now ${of.format(known[known.length - 1])}, at most ${
        of.format(known.reduce((a, b) => Math.max(a, b)))}`;
  });
  return `${of.title}. ${texts.join("; ")}`;
}

/** @param {ChartProps} of */
export function Chart(of) {
  const place = useRef(/** @type {HTMLDivElement | null} */ (null));
  const plot = useRef(/** @type {any} */ (null));
  const latest = useRef(of);
  const [missing, setMissing] = useState("");
  latest.current = of;
  const shape = `${theme.value} ${of.lines.map((line) => line.label).join()}`;
  useEffect(() => {
    let over = false;
    const fit = new ResizeObserver(() => {
      if (place.current && plot.current) {
        plot.current.setSize({ width: place.current.clientWidth, height: HEIGHT });
      }
    });
    const draw = (/** @type {any} */ uPlot) => {
      if (over || !place.current) {
        return;
      }
      const now = latest.current;
      const wide = place.current.clientWidth;
      plot.current = new uPlot(options(uPlot, now, wide), columns(now), place.current);
      fit.observe(place.current);
    };
    library().then(draw, (error) => setMissing(error.message));
    return () => {
      over = true;
      fit.disconnect();
      plot.current?.destroy();
      plot.current = null;
    };
  }, [shape]);
  useEffect(() => {
    const chart = plot.current;
    if (!chart || of.times.length === 0) {
      return;
    }
    const { min, max } = chart.scales.x;
    const old = chart.data[0];
    const slack = 1;
    const zoomed = old.length > 1 && min !== null
      && (min > old[0] + slack || max < old[old.length - 1] - slack);
    chart.setData(columns(of), !zoomed);
    if (zoomed) {
      chart.redraw();
    }
  }, [of.times, of.lines]);
  return html`<figure class="chart"><figcaption>${of.title}</figcaption>
    <div class="plot" role="img" aria-label=${spoken(of)} ref=${place}></div>
    ${missing && html`<p class="wrong">${missing}</p>`}</figure>`;
}
