// The pages' state lives in the address: these functions move it between the address and the controls.
(function () {
  const clientside = (window.dash_clientside = window.dash_clientside || {});

  // Milliseconds, the date strings and the numbers of Plotly's axes, as the address has them.
  function position(value, axis) {
    if (axis !== "wall") return Number(value);
    return (typeof value === "number" ? value : Date.parse(String(value).replace(" ", "T") + "Z")) / 1000;
  }

  function written(parameters) {
    return "?" + parameters.toString().replaceAll("%2C", ",").replaceAll("%2F", "/").replaceAll("%3A", ":");
  }

  // What Plotly says after a drag or a double click; anything else it reports is none of the address' business.
  function zoom(parameters, report, axis) {
    const ends = report["xaxis.range"] || [report["xaxis.range[0]"], report["xaxis.range[1]"]];
    if (report["xaxis.autorange"]) parameters.delete("x");
    else if (ends[0] !== undefined && ends[1] !== undefined) {
      const digits = axis === "wall" ? 14 : 7;
      parameters.set("x", ends.map((end) => Number(position(end, axis).toPrecision(digits))).join(","));
    }
  }

  // What the address has just set, by control: its echo must not be written back over an address that moved on.
  const restored = {};

  // ---- What a page can do without until it stands ----

  const hasCurves = (path) => ["/compare", "/system"].includes(path.replace(/\/$/, ""));
  const openedOnCurves = hasCurves(location.pathname);
  let settled = false;

  // The page is drawn: fetch what the other page needs, so that it is there at once.
  function settle() {
    if (settled) return;
    settled = true;
    const load = () =>
      document.querySelectorAll("script[data-later]").forEach((waiting) => {
        const script = document.createElement("script");
        script.async = false;
        script.onload = () => waiting.remove();
        script.src = waiting.dataset.later;
        document.body.appendChild(script);
      });
    window.requestIdleCallback ? requestIdleCallback(load, { timeout: 3000 }) : setTimeout(load, 500);
  }
  addEventListener("load", () => setTimeout(settle, 5000)); // where nothing is drawn at all

  // Until then, going to the other page is an ordinary visit.
  const lacksScripts = (path) => hasCurves(path) !== openedOnCurves && document.querySelector("script[data-later]") !== null;
  document.addEventListener(
    "click",
    (event) => {
      const link = event.target.closest && event.target.closest("a[href]");
      if (link && link.origin === location.origin && !link.download && lacksScripts(link.pathname)) event.stopPropagation();
    },
    true
  );
  addEventListener("popstate", () => lacksScripts(location.pathname) && location.reload());

  let watcher = null;

  clientside.compare = {
    position,

    // Resolves when the first curves are on the screen: everything else waits for that.
    begin() {
      const patience = performance.now() + 4000;
      return new Promise((resolve) => {
        const look = () => {
          const drawn = document.querySelector("#panels .js-plotly-plot .main-svg");
          if (!drawn && document.querySelector("#panels .panel") && performance.now() < patience) return requestAnimationFrame(look);
          // Two frames on: the first of them paints.
          requestAnimationFrame(() => requestAnimationFrame(() => (settle(), resolve(performance.now()))));
        };
        requestAnimationFrame(look);
      });
    },

    // Says which panels came near the window: those are drawn, the others cost nothing.
    watch() {
      if (watcher) watcher.disconnect();
      const near = new Set();
      watcher = new IntersectionObserver(
        (entries) => {
          const before = near.size;
          entries.forEach(({ isIntersecting, target }) => isIntersecting && !target.firstChild && near.add(target.dataset.metric));
          if (near.size > before) clientside.set_props("near", { data: [...near] });
        },
        { rootMargin: "400px" }
      );
      document.querySelectorAll(".place").forEach((place) => watcher.observe(place));
      return clientside.no_update;
    },

    // Controls and zooms → address. Controls report when they appear, too: what says nothing new changes nothing.
    toAddress(axis, smoothing, log, group, splits, metrics, a, b, difference, base, target, find, reset, zooms, search, defaults) {
      if (!defaults) return clientside.no_update;
      const parameters = new URLSearchParams(search);
      const put = (key, value, normal) => (value === normal ? parameters.delete(key) : parameters.set(key, value));
      for (const { prop_id: source, value } of clientside.callback_context.triggered) {
        const echo = restored[source] === JSON.stringify(value);
        delete restored[source];
        if (echo) continue;
        if (source === "axis.value") {
          if ((parameters.get("axis") || "step") !== axis) parameters.delete("x");
          put("axis", axis, "step");
        } else if (source === "smoothing.value") put("smoothing", String(smoothing), "0");
        else if (source === "log-y.checked") put("log", log ? "1" : "0", "0");
        else if (source === "group.checked") put("group", group ? "seed" : "", "");
        else if (source === "splits.checked") put("splits", splits ? "1" : "", "");
        else if (source === "metrics.value") {
          parameters.delete("metric");
          if (String(metrics) !== String(defaults.metrics)) (metrics.length ? metrics : [""]).forEach((metric) => parameters.append("metric", metric));
        } else if (source === "pair-a.value" || source === "pair-b.value") {
          if (a && b) put("pair", a + "," + b, String(defaults.pair));
        } else if (source === "difference-metric.value") put("difference", difference, defaults.difference);
        else if (source === "base.value") put("base", base, defaults.base);
        else if (source === "target.value") put("target", String(target ?? ""), "");
        else if (source === "find.value") put("find", find || "", "");
        else if (source === "reset-zoom.n_clicks" && value) parameters.delete("x");
        else if (source.endsWith(".relayoutData")) zoom(parameters, value || {}, axis);
      }
      const next = written(parameters);
      return next === written(new URLSearchParams(search)) ? clientside.no_update : next;
    },

    // Address → controls, for back, forward and links.
    fromAddress(search, pathname, defaults) {
      if (pathname !== "/compare") return;
      const parameters = new URLSearchParams(search);
      const want = {
        axis: { value: parameters.get("axis") || "step" },
        smoothing: { value: Number(parameters.get("smoothing") || 0) },
        "log-y": { checked: parameters.get("log") === "1" },
        group: { checked: parameters.get("group") === "seed" },
        splits: { checked: parameters.get("splits") === "1" },
        metrics: { value: parameters.has("metric") ? parameters.getAll("metric").filter(Boolean) : defaults.metrics },
      };
      want.base = { value: parameters.get("base") || defaults.base };
      want.find = { value: parameters.get("find") || "" };
      want.target = { value: parameters.has("target") ? Number(parameters.get("target")) : "" };
      if (defaults.pair) {
        const pair = parameters.has("pair") ? parameters.get("pair").split(",") : defaults.pair;
        want["pair-a"] = { value: pair[0] };
        want["pair-b"] = { value: pair[1] };
        want["difference-metric"] = { value: parameters.get("difference") || defaults.difference };
      }
      for (const [id, properties] of Object.entries(want)) {
        for (const [name, value] of Object.entries(properties)) restored[id + "." + name] = JSON.stringify(value);
        clientside.set_props(id, properties);
      }
      return parameters.has("x") ? false : true;
    },
  };

  // The System page has an axis and a zoom of its own; the rest is as on Compare.
  clientside.system = {
    toAddress(axis, reset, zooms, search, pathname) {
      if (pathname.replace(/\/$/, "") !== "/system" || axis === undefined) return clientside.no_update;
      const parameters = new URLSearchParams(search);
      for (const { prop_id: source, value } of clientside.callback_context.triggered) {
        const echo = restored[source] === JSON.stringify(value);
        delete restored[source];
        if (echo) continue;
        if (source === "system-axis.value") {
          if ((parameters.get("axis") || "relative") !== axis) parameters.delete("x");
          axis === "relative" ? parameters.delete("axis") : parameters.set("axis", axis);
        } else if (source === "system-reset.n_clicks" && value) parameters.delete("x");
        else if (source.endsWith(".relayoutData")) zoom(parameters, value || {}, axis);
      }
      const next = written(parameters);
      return next === written(new URLSearchParams(search)) ? clientside.no_update : next;
    },

    fromAddress(search, pathname) {
      if (pathname.replace(/\/$/, "") !== "/system") return clientside.no_update;
      const parameters = new URLSearchParams(search);
      const value = parameters.get("axis") || "relative";
      restored["system-axis.value"] = JSON.stringify(value);
      clientside.set_props("system-axis", { value });
      return !parameters.has("x");
    },
  };

  const filter = { state: [], framework: [], project: [], form: [] };
  // What a word of a form says something about: one of each kind asked for must hold, of any kind asked for.
  const kind = (word) => (/^(eager|graph|xla|compile)$/.test(word) ? "mode" : / devices?$/.test(word) ? "devices" : "precision");
  const holds = (have, wanted) => {
    const words = (of) => wanted.filter((word) => kind(word) === of);
    return [...new Set(wanted.map(kind))].every((of) => words(of).some((word) => have.includes(word)));
  };
  // The grid's own search would lose the rows of groups, which have no words.
  let searched = [];
  const texts = new WeakMap(); // what the search reads of a row
  function text(row) {
    if (!texts.has(row)) {
      const framework = { torch: "PyTorch", tensorflow: "TensorFlow" }[row.framework];
      const settings = Object.keys(row).filter((key) => key.startsWith("config:")).map((key) => row[key]);
      const words = [row.name, row.id, row.state, row.framework, framework, row.backend, row.project, row.workload, row.group];
      texts.set(row, [...words, ...row.form, ...row.tags, ...settings].join(" ").toLowerCase());
    }
    return texts.get(row);
  }
  window.dashAgGridFunctions = window.dashAgGridFunctions || {};
  window.dashAgGridFunctions.filtered = () => searched.length > 0 || Object.values(filter).some((wanted) => wanted.length > 0);
  window.dashAgGridFunctions.passes = (row) =>
    row.group_of !== undefined ||
    (searched.every((word) => text(row).includes(word)) && Object.entries(filter).every(
      ([key, wanted]) => wanted.length === 0 || (Array.isArray(row[key]) ? holds(row[key], wanted) : wanted.includes(row[key] || "none"))
    ));

  clientside.runs = {
    keep,

    // Resolves once the first rows are on the screen: the others, and the columns to choose from, wait for that.
    async begin() {
      const patience = performance.now() + 4000;
      const api = await window.dash_ag_grid.getApiAsync("runs-grid");
      return new Promise((resolve) => {
        const look = () => {
          const drawn = document.querySelector("#runs-grid .ag-row") || !api.getDisplayedRowCount();
          if (!drawn && performance.now() < patience) return requestAnimationFrame(look);
          // Two frames on: the first of them paints.
          requestAnimationFrame(() => requestAnimationFrame(() => (settle(), resolve(performance.now()))));
        };
        requestAnimationFrame(look);
      });
    },

    // Filters and selection → grid and address. No history entry: a ticked box is no place to go back to.
    async narrow(search, states, frameworks, projects, forms, columns) {
      Object.assign(filter, { state: states || [], framework: frameworks || [], project: projects || [], form: forms || [] });
      const api = await window.dash_ag_grid.getApiAsync("runs-grid");
      searched = (search || "").toLowerCase().split(/\s+/).filter(Boolean);
      api.onFilterChanged();
      const parameters = new URLSearchParams(location.search);
      const put = (key, values) => (values.length ? parameters.set(key, values.join(",")) : parameters.delete(key));
      put("q", search ? [search] : []);
      Object.entries(filter).forEach(([key, values]) => put(key, values));
      parameters.delete("column"); // repeated, for the name of a metric may hold a comma
      (columns || []).forEach((key) => parameters.append("column", key));
      keep(parameters);
      return { ...filter, search };
    },

    select(rows) {
      const ids = Array.isArray(rows) ? rows.map((row) => row.id) : (rows && rows.ids) || [];
      const parameters = new URLSearchParams(location.search);
      ids.length ? parameters.set("selected", ids.join(",")) : parameters.delete("selected");
      keep(parameters);
      const label = ids.length > 1 ? `Compare ${ids.length} runs` : ids.length ? "Open run" : "Compare";
      return ["/compare?runs=" + ids.map(encodeURIComponent).join(","), label, "button primary" + (ids.length ? "" : " disabled")];
    },
  };

  function keep(parameters) {
    if (location.pathname !== "/" && location.pathname !== "/runs") return;
    const text = parameters.toString();
    history.replaceState(history.state, "", location.pathname + (text ? "?" + text.replaceAll("%2C", ",").replaceAll("%2F", "/").replaceAll("%3A", ":") : ""));
  }

  // A download is the current view: its link takes the address' query the moment it is used.
  const refresh = (event) => {
    const link = event.target.closest && event.target.closest("a[data-figure]");
    if (!link) return;
    const parameters = new URLSearchParams(location.search);
    clientside.panels.replaceFound(parameters);
    parameters.set("figure", link.dataset.figure);
    if (link.dataset.subject) parameters.set("subject", link.dataset.subject);
    link.href = "/download/" + link.dataset.format + "?" + parameters.toString();
  };
  ["pointerover", "focusin", "click"].forEach((kind) => document.addEventListener(kind, refresh, true));

  // Menus made of <details> close on Escape and on a click elsewhere.
  document.addEventListener("click", (event) => {
    document.querySelectorAll("details.menu[open]").forEach((menu) => menu.contains(event.target) && !event.target.closest("a") || (menu.open = false));
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") document.querySelectorAll("details.menu[open]").forEach((menu) => (menu.open = false));
  });
})();
