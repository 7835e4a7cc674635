// Numbers and times as people read them, in the viewer's language habits and zone.

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** @param {number | null | undefined} bytes */
export function size(bytes) {
  if (bytes === null || bytes === undefined) {
    return "–";
  }
  let value = bytes;
  let unit = 0;
  while (Math.abs(value) >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? Math.round(value) : value.toFixed(value < 10 ? 2 : 1)} ${UNITS[unit]}`;
}

/** @param {number | null | undefined} bytes */
export const speed = (bytes) => (bytes === null || bytes === undefined ? "–" : `${size(bytes)}/s`);

const plain = new Intl.NumberFormat(undefined, { maximumFractionDigits: 2 });

/** @param {number | null | undefined} value */
export const count = (value) => (value === null || value === undefined ? "–" : plain.format(value));

/** @param {number | null | undefined} ratio From 0 to 1. */
export const percent = (ratio) =>
  ratio === null || ratio === undefined ? "–" : `${(ratio * 100).toFixed(ratio < 0.1 ? 1 : 0)} %`;

/** @param {number | null | undefined} seconds */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) {
    return "–";
  }
  if (seconds < 0.001) {
    return `${Math.round(seconds * 1e6)} µs`;
  }
  if (seconds < 1) {
    return `${Math.round(seconds * 1000)} ms`;
  }
  if (seconds < 10) {
    return `${seconds.toFixed(1)} s`;
  }
  const whole = Math.round(seconds);
  if (whole < 60) {
    return `${whole} s`;
  }
  if (whole < 3600) {
    return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  }
  if (whole < 86400) {
    return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  }
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

const FULL = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const DAY = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", hour: "2-digit",
  minute: "2-digit" });
const HOUR = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit",
  second: "2-digit" });

/** @param {string | number | Date} at */
export const full = (at) => FULL.format(new Date(at));

/** The hour today, the day before that. @param {string | number | Date} at */
export function moment(at) {
  const date = new Date(at);
  return date.toDateString() === new Date().toDateString() ? HOUR.format(date) : DAY.format(date);
}

/** @param {string} word Such as `awaiting_selection`. */
export const words = (word) => word.replaceAll("_", " ");

/** @param {string} word */
export const title = (word) => {
  const text = words(word);
  return text.charAt(0).toUpperCase() + text.slice(1);
};

/** @param {number} number @param {string} one @param {string} [many] */
export const plural = (number, one, many = `${one}s`) =>
  `${count(number)} ${number === 1 ? one : many}`;
