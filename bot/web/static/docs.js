// The description of the REST interface, for people. Plain module, no build step.
// @ts-check

/** @typedef {{name: string, in: string, description?: string, required?: boolean, schema?: any}} Parameter */
/** @typedef {{tags: string[], description: string, parameters?: Parameter[], requestBody?: any, responses: Record<string, any>}} Operation */

/** @param {string} kind @param {Record<string, string>} [attributes] @param {(Node | string)[]} children */
function element(kind, attributes = {}, ...children) {
  const made = document.createElement(kind);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** @param {any} schema @param {any} all @param {number} [depth] @returns {string} */
function kind(schema, all, depth = 0) {
  if (!schema) return "";
  if (schema.$ref) {
    const name = schema.$ref.split("/").pop();
    const found = all[name];
    if (depth > 2 || !found?.properties) return name;
    const fields = Object.entries(found.properties).map(([field, of]) =>
      `${"  ".repeat(depth + 1)}${field}${found.required?.includes(field) ? "" : "?"}: ${kind(of, all, depth + 1)}`);
    return `{\n${fields.join("\n")}\n${"  ".repeat(depth)}}`;
  }
  if (schema.enum) return schema.enum.map((/** @type {unknown} */ each) => JSON.stringify(each)).join(" | ");
  if ("const" in schema) return JSON.stringify(schema.const);
  const parts = schema.anyOf ?? schema.oneOf;
  if (parts) return parts.map((/** @type {any} */ each) => kind(each, all, depth)).join(" | ");
  if (schema.type === "array") return `[${kind(schema.items, all, depth)}]`;
  return schema.format ? `${schema.type} (${schema.format})` : schema.type ?? "any";
}

/** @param {string} path @param {Parameter[]} parameters @param {any} all */
function trial(path, parameters, all) {
  const fields = parameters.filter((each) => each.in !== "header").map((each) => {
    const input = /** @type {HTMLInputElement} */ (element("input", { name: each.name, placeholder: kind(each.schema, all) }));
    input.required = each.in === "path";
    return { each, input };
  });
  const shown = element("pre", { hidden: "" });
  const form = element("form", {}, ...fields.map(({ each, input }) => element("p", {}, element("label", {}, `${each.name} `, input))),
    element("button", {}, "Try"));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const query = new URLSearchParams();
    let at = path;
    for (const { each, input } of fields) {
      if (each.in === "path") at = at.replace(`{${each.name}}`, encodeURIComponent(input.value));
      else if (input.value) query.append(each.name, input.value);
    }
    shown.hidden = false;
    try {
      const answer = await fetch(query.size ? `${at}?${query}` : at);
      const text = await answer.text();
      let pretty = text;
      if (answer.headers.get("content-type")?.includes("json")) pretty = JSON.stringify(JSON.parse(text), null, 1);
      shown.textContent = `${answer.status} ${answer.statusText}\n\n${pretty.slice(0, 50_000)}`;
    } catch (error) {
      shown.textContent = String(error);
    }
  });
  return [form, shown];
}

/** @param {string} method @param {string} path @param {Operation} of @param {any} all */
function call(method, path, of, all) {
  const inside = element("div");
  const made = element("details", { "data-text": `${method} ${path} ${of.description}`.toLowerCase() },
    element("summary", {}, element("b", { class: "method" }, method.toUpperCase()), element("code", {}, path), " ", of.description.split("\n\n")[0]), inside);
  made.addEventListener("toggle", () => {
    if (inside.childElementCount) return;
    const parameters = of.parameters ?? [];
    if (parameters.length) {
      inside.append(element("table", {}, element("thead", {}, element("tr", {}, ...["parameter", "in", "what"].map((text) => element("th", {}, text)))),
        element("tbody", {}, ...parameters.map((each) => element("tr", {}, element("td", {}, element("code", {}, each.name), each.required ? " *" : ""),
          element("td", {}, each.in), element("td", {}, `${each.description ?? ""} ${kind(each.schema, all)}`))))));
    }
    const body = of.requestBody?.content?.["application/json"];
    if (body) inside.append(element("h3", {}, "Body"), element("pre", {}, kind(body.schema, all)),
      ...(body.example ? [element("pre", {}, JSON.stringify(body.example, null, 1))] : []));
    inside.append(element("h3", {}, "Answers"));
    for (const [status, answer] of Object.entries(of.responses)) {
      const schema = answer.content?.["application/json"]?.schema;
      inside.append(element("p", {}, element("code", {}, status), ` ${answer.description ?? ""}`), ...(schema ? [element("pre", {}, kind(schema, all))] : []));
    }
    if (method === "get") inside.append(...trial(path, parameters, all));
  });
  return made;
}

const main = /** @type {HTMLElement} */ (document.getElementById("calls"));
const wanted = /** @type {HTMLInputElement} */ (document.getElementById("wanted"));
const described = await (await fetch("/api/v3/openapi.json")).json();
main.replaceChildren();
for (const tag of described.tags) {
  const section = element("section", {}, element("h2", {}, tag.name), element("p", {}, tag.description));
  for (const [path, methods] of Object.entries(described.paths)) {
    for (const [method, of] of Object.entries(/** @type {Record<string, Operation>} */ (methods))) {
      if (of.tags?.includes(tag.name)) section.append(call(method, path, of, described.components.schemas));
    }
  }
  main.append(section);
}
wanted.addEventListener("input", () => {
  const text = wanted.value.toLowerCase();
  for (const each of main.querySelectorAll("details")) each.hidden = !each.dataset.text?.includes(text);
  for (const each of main.querySelectorAll("section")) each.hidden = !each.querySelector("details:not([hidden])");
});

export {};
