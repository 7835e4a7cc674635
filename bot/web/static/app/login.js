// The way in: a token, or a name and a password.
import { enterPassword, enterToken, Problem } from "./api.js";
import { LOGO } from "./icons.js";
import { html, useState } from "./lib.js";
import { Choice, Field } from "./ui.js";

export function Login() {
  const [by, setBy] = useState("token");
  const [wrong, setWrong] = useState("");
  const [busy, setBusy] = useState(false);
  const submit = async (/** @type {any} */ event) => {
    event.preventDefault();
    const data = new FormData(event.target);
    const value = (/** @type {string} */ name) => String(data.get(name) ?? "");
    setBusy(true);
    setWrong("");
    try {
      await (by === "token" ? enterToken(value("token").trim())
        : enterPassword(value("user").trim(), value("password")));
    } catch (error) {
      if (!(error instanceof Problem)) {
        throw error;
      }
      setWrong([error.message, error.hint].filter(Boolean).join(" – "));
      setBusy(false);
    }
  };
  return html`<main class="login"><form class="card" onSubmit=${submit}>
    <h1><img src=${LOGO} alt="" width="32" height="32" /> mltb</h1>
    <${Choice} label="How to log in" value=${by} choose=${setBy}
      choices=${[["token", "Token"], ["password", "Password"]]} />
    ${by === "token"
      ? html`<${Field} key="token" label="Token" help=${html`The service printed a login link when it
          started. <code>mltb token create</code> makes another token.`}>
          ${(/** @type {string} */ id) => html`<input id=${id} name="token" type="password"
            autocomplete="current-password" required autofocus />`}<//>`
      : html`<${Field} key="user" label="User name">${(/** @type {string} */ id) =>
          html`<input id=${id} name="user" autocomplete="username" autocapitalize="none"
            spellcheck=${false} required autofocus />`}<//>
        <${Field} key="password" label="Password">${(/** @type {string} */ id) =>
          html`<input id=${id} name="password" type="password" autocomplete="current-password"
            required />`}<//>`}
    <p class="wrong" role="alert">${wrong}</p>
    <button class="button primary wide" disabled=${busy}>Log in</button>
  </form></main>`;
}
