// The Profile page: its buttons, table and Perfetto. What they choose lives in the address.
(function () {
  const clientside = (window.dash_clientside = window.dash_clientside || {});
  const functions = (window.dashAgGridFunctions = window.dashAgGridFunctions || {});
  const cells = (window.dashAgGridComponentFunctions = window.dashAgGridComponentFunctions || {});
  const element = (...given) => window.React.createElement(...given);
  const onPage = () => location.pathname.replace(/\/$/, "") === "/profile";

  const written = (parameters) => "?" + parameters.toString().replaceAll("%2C", ",").replaceAll("%2F", "/").replaceAll("%3A", ":");

  // A choice is a place to go back to.
  function go(parameters) {
    const next = written(parameters);
    if (next !== written(new URLSearchParams(location.search))) clientside.set_props("url", { search: next });
  }

  // What is typed, sorted or zoomed is not: the entry of the history is only kept true.
  function keep(changes) {
    if (!onPage()) return;
    const parameters = new URLSearchParams(location.search);
    for (const [key, value] of Object.entries(changes)) value ? parameters.set(key, value) : parameters.delete(key);
    history.replaceState(history.state, "", location.pathname + written(parameters));
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest && event.target.closest("button[data-set]");
    if (!button) return;
    const [key, value] = button.dataset.set.split("=");
    const parameters = new URLSearchParams(location.search);
    const normal = { by: "operator", rank: "0" }[key] || "";
    if (value === normal || (key === "family" && parameters.get(key) === value)) parameters.delete(key);
    else parameters.set(key, value);
    go(parameters);
  });

  // ---- Table ----

  functions.times = (value) => (value === null || value === undefined ? "–" : value < 0.01 ? "<0.01×" : Number(value.toPrecision(3)) + "×");
  functions.percent = (value) => (value === null || value === undefined ? "–" : (100 * value).toFixed(value < 0.1 ? 1 : 0) + " %");
  functions.signedTime = (value) =>
    value === null || value === undefined ? "–" : value === 0 ? "0" : (value > 0 ? "+" : "−") + functions.stepTime(Math.abs(value));
  const scaled = (units, base) => (value) => {
    if (value === null || value === undefined) return "–";
    let place = 0;
    let left = Math.abs(value);
    while (left >= base && place < units.length - 1) (left /= base), place++;
    return (value < 0 ? "−" : "") + (left >= 100 ? Math.round(left) : Number(left.toPrecision(3))) + units[place];
  };
  functions.amount = scaled(["", " k", " M", " G", " T", " P"], 1000);
  functions.bytes = scaled([" B", " KiB", " MiB", " GiB", " TiB"], 1024);

  cells.Operator = (props) => {
    const { inferred, background, device } = props.data;
    const mark = (text, title) => element("span", { key: text, className: "badge trait", title }, text);
    return element("span", { className: "operator" }, [
      element("span", { key: "name", className: "operator-name" }, props.value),
      inferred ? mark("inferred", "Its family or direction is a guess: the trace does not say what it was made from") : null,
      background ? mark("background", "It ran on a thread on which training does not wait") : null,
      device === "gpu" ? mark("GPU", "It ran on an accelerator") : null,
    ]);
  };

  cells.Family = (props) => {
    const { family, direction } = props.data;
    return element("span", { className: "family-cell" }, [
      element("span", { key: "dot", className: "dot " + direction, style: { backgroundColor: `var(--family-${family})` } }),
      family + (direction === "none" ? "" : ", " + direction),
    ]);
  };

  let listening = null; // the grid whose sorting is being followed
  let searched = null; // what the address had when the page was last drawn from it

  function sorting(api) {
    const first = api.getColumnState().filter((column) => column.sort).sort((a, b) => a.sortIndex - b.sortIndex)[0];
    return first ? `${first.colId}:${first.sort}` : "";
  }

  function sort(api, wanted) {
    if (wanted === sorting(api)) return;
    const [column, order] = wanted.split(":");
    const state = api.getColumn(column) ? [{ colId: column, sort: order }] : [];
    api.applyColumnState({ state, defaultState: { sort: null } });
  }

  clientside.profile = {
    async table(text, search, rows) {
      const no = clientside.no_update;
      if (!rows || !onPage()) return no;
      const asked = clientside.callback_context.triggered.map(({ prop_id: source }) => source); // gone after a wait
      const api = await window.dash_ag_grid.getApiAsync("operators-grid");
      const parameters = new URLSearchParams(location.search);
      if (asked.includes("operators-search.value")) keep({ q: text });
      else if (asked.includes("url.search") && searched !== null && (parameters.get("q") || "") !== (text || "")) {
        text = parameters.get("q") || "";
        clientside.set_props("operators-search", { value: text });
      }
      searched = search;
      api.setGridOption("quickFilterText", text || "");
      // The columns of new rows are there a moment later.
      setTimeout(() => {
        if (api.isDestroyed && api.isDestroyed()) return;
        sort(api, new URLSearchParams(location.search).get("sort") || "");
        if (listening === api) return;
        listening = api;
        api.addEventListener("sortChanged", (event) => event.source === "uiColumnSorted" && keep({ sort: sorting(api) }));
      }, 0);
      return no;
    },

    // The chosen step → address; the timeline follows the address.
    step(value) {
      const parameters = new URLSearchParams(location.search);
      if (onPage() && value !== null && (parameters.get("step") || "0") !== value) {
        value === "0" ? parameters.delete("step") : parameters.set("step", value);
        parameters.delete("x");
        go(parameters);
      }
      return clientside.no_update;
    },

    timeline(config, search) {
      if (!config || !onPage()) return clientside.no_update;
      const parameters = new URLSearchParams(search);
      const step = Number(parameters.get("step")) || 0;
      const chosen = document.getElementById("timeline-step");
      if (chosen) clientside.set_props("timeline-step", { value: String(step) });
      const ends = (parameters.get("x") || "").split(",").map(Number);
      const [family, direction] = (parameters.get("family") || "").split("/");
      window.tracksideTimeline(document.getElementById("timeline"), config, {
        step,
        range: ends.length === 2 && ends[0] < ends[1] ? ends : null,
        family: config.families.indexOf(family),
        direction: config.directions.indexOf(direction),
        zoomed: (range) => keep({ x: range ? range.map((end) => Number(end.toPrecision(7))).join(",") : "" }),
      });
      return clientside.no_update;
    },
  };

  // ---- Perfetto: a page of its own site, which is handed the trace once it answers ----

  const PERFETTO = "https://ui.perfetto.dev";
  const PATIENCE = 20000;

  document.addEventListener("click", async (event) => {
    const button = event.target.closest && event.target.closest("button[data-perfetto]");
    if (!button) return;
    const say = (text) => clientside.set_props("perfetto-said", { children: text });
    const opened = window.open(PERFETTO); // before anything is waited for: later the browser would block it
    if (!opened) return say("The browser kept the window from opening: allow pop-ups here, or download the trace.");
    say("Preparing the trace …");
    const answered = new Promise((resolve) => {
      const begun = Date.now();
      const ask = setInterval(() => {
        if (opened.closed || Date.now() - begun > PATIENCE) return clearInterval(ask), resolve(false);
        opened.postMessage("PING", PERFETTO);
      }, 100);
      addEventListener("message", function hear(message) {
        if (message.origin !== PERFETTO || message.data !== "PONG") return;
        removeEventListener("message", hear);
        clearInterval(ask);
        resolve(true);
      });
    });
    try {
      const response = await fetch(button.dataset.perfetto);
      if (!response.ok) return say(await response.text());
      const buffer = await response.arrayBuffer();
      if (!(await answered)) return say("Perfetto did not answer: it needs the internet. Download the trace and open it there.");
      opened.postMessage({ perfetto: { buffer, title: "trackside", fileName: "trackside.json.gz" } }, PERFETTO, [buffer]);
      say("Opened in Perfetto.");
    } catch (failed) {
      say("The trace could not be fetched: is the dashboard still running?");
    }
  });
})();
