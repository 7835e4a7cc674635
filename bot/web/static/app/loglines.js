// A line of the log as one text.

/** @param {any} value */
const shown = (value) => (typeof value === "string" ? value : JSON.stringify(value));

/** The message, what belongs to it, and the traceback. @param {any} line */
export function lineText(line) {
  const fields = Object.entries(line.fields ?? {}).map(([name, value]) => `${name}=${shown(value)}`);
  const text = [line.message, ...fields].join("  ");
  return line.error ? `${text}\n${line.error}` : text;
}
