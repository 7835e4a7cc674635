// The libraries in one place, so that each module imports from here.
import { h, render, Fragment } from "preact";
import htm from "htm";

export { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
export { batch, computed, effect, signal, untracked, useSignal } from "@preact/signals";
export { Fragment, h, render };

/** @type {(strings: TemplateStringsArray, ...values: any[]) => any} */
export const html = htm.bind(/** @type {any} */ (h));
