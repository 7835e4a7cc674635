// GraphiQL over /graphql. It asks with the token of this tab, as the other pages do.
// @ts-check

const given = new URLSearchParams(location.hash.slice(1)).get("token");
if (given) {
  sessionStorage.setItem("token", given);
  history.replaceState(null, "", location.pathname);
}
const token = sessionStorage.getItem("token") ?? "";
const authorization = token ? `Bearer ${token}` : "";

const { GraphiQL, React, ReactDOM } = /** @type {any} */ (window);
const socket = new URL(location.pathname, location.href);
socket.protocol = socket.protocol === "https:" ? "wss:" : "ws:";

const fetcher = GraphiQL.createFetcher({
  url: location.pathname,
  headers: authorization ? { Authorization: authorization } : {},
  subscriptionUrl: socket.href,
  wsConnectionParams: { Authorization: authorization },
});

ReactDOM.createRoot(document.getElementById("graphiql")).render(
  React.createElement(GraphiQL, {
    fetcher,
    defaultQuery: "{\n  systemStatus {\n    version\n    tasksRunning\n  }\n}\n",
    shouldPersistHeaders: false,
  }),
);
