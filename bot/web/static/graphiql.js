// GraphiQL over /graphql. It asks with the session of this browser: log in on the dashboard first.
// @ts-check

const { GraphiQL, React, ReactDOM } = /** @type {any} */ (window);
const socket = new URL(location.pathname, location.href);
socket.protocol = socket.protocol === "https:" ? "wss:" : "ws:";

const fetcher = GraphiQL.createFetcher({
  url: location.pathname,
  // No form of another site can send it.
  headers: { "GraphQL-Require-Preflight": "1" },
  subscriptionUrl: socket.href,
});

ReactDOM.createRoot(document.getElementById("graphiql")).render(
  React.createElement(GraphiQL, {
    fetcher,
    defaultQuery: "{\n  systemStatus {\n    version\n    tasksRunning\n  }\n}\n",
    shouldPersistHeaders: false,
  }),
);
