// Where runs begin on the Compare page: between the address and the menus on the chips, and "start here" at a point.
(function () {
  const clientside = (window.dash_clientside = window.dash_clientside || {});
  const MOST = 8; // runs that the menu at a point has room for

  const written = (parameters) => "?" + parameters.toString().replaceAll("%2C", ",").replaceAll("%2F", "/").replaceAll("%3A", ":");
  const menus = () => [...document.querySelectorAll(".start-menu")];

  // Start of a run in the address: by its id, its name or the beginning of its id.
  function starts(parameters, menu) {
    const { run, name } = menu.dataset;
    const pairs = parameters.getAll("start").map((text) => [text.slice(0, text.lastIndexOf(":")), Number(text.slice(text.lastIndexOf(":") + 1))]);
    return pairs.filter(([reference, step]) => reference && Number.isInteger(step) && (reference === run || reference === name || run.startsWith(reference)));
  }

  function shownStep(parameters, menu) {
    const found = starts(parameters, menu);
    return found.length ? found[found.length - 1][1] : "";
  }

  // The address with a run that begins at a step, or with its first; a zoom was to places that have moved.
  function moved(parameters, menu, step) {
    const gone = starts(parameters, menu).map(([reference]) => reference + ":");
    const kept = parameters.getAll("start").filter((text) => !gone.some((reference) => text.startsWith(reference)));
    parameters.delete("start");
    parameters.delete("x");
    kept.forEach((text) => parameters.append("start", text));
    if (step !== "") parameters.append("start", menu.dataset.run + ":" + step);
  }

  // ---- The menu at a point of a curve ----

  let popup = null;
  let pointer = { clientX: 0, clientY: 0 };
  document.addEventListener("pointerdown", (event) => (pointer = event), true);

  function close(refocus) {
    if (!popup) return;
    const { element, origin } = popup;
    popup = null;
    element.remove();
    if (refocus && origin && origin.isConnected) origin.focus({ preventScroll: true });
  }
  document.addEventListener("pointerdown", (event) => popup && !popup.element.contains(event.target) && close(false), true);
  document.addEventListener("keydown", (event) => event.key === "Escape" && popup && (event.preventDefault(), close(true)), true);
  addEventListener("popstate", () => close(false));

  function entry(text, color, act) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "menu-entry";
    if (color) {
      const mark = document.createElement("span");
      mark.className = "swatch";
      mark.style.setProperty("--run-color", color);
      button.append(mark);
    }
    button.append(text);
    button.addEventListener("click", () => (close(false), act()));
    return button;
  }

  function open(heading, entries) {
    close(false);
    const element = document.createElement("div");
    element.className = "point-menu";
    element.setAttribute("role", "dialog");
    element.setAttribute("aria-label", heading);
    const title = document.createElement("p");
    title.className = "soft";
    title.textContent = heading;
    element.append(title, ...entries);
    document.body.append(element);
    const box = element.getBoundingClientRect();
    element.style.left = Math.max(8, Math.min(pointer.clientX + 10, innerWidth - box.width - 8)) + "px";
    element.style.top = Math.max(8, Math.min(pointer.clientY + 10, innerHeight - box.height - 8)) + "px";
    popup = { element, origin: document.activeElement };
    element.querySelector("button").focus({ preventScroll: true });
  }

  const plain = (value) => (typeof value === "number" ? value.toLocaleString("en", { maximumSignificantDigits: 6 }) : String(value));

  clientside.starts = {
    // A click on a panel → a menu of the runs that have a point there.
    offer() {
      const { triggered } = clientside.callback_context;
      const one = triggered.find(({ value }) => value && value.points && value.points.length);
      if (!one || new URLSearchParams(location.search).get("group")) return clientside.no_update;
      const metric = JSON.parse(one.prop_id.slice(0, one.prop_id.lastIndexOf("."))).metric;
      const place = [...document.querySelectorAll(".place")].find((element) => element.dataset.metric === metric);
      const graph = place && place.querySelector(".js-plotly-plot");
      if (!graph || clientside.debug.meant(one.value)) return clientside.no_update;
      const axis = new URLSearchParams(location.search).get("axis") || "step";
      const found = new Map();
      for (const { curveNumber, x, y } of one.value.points) {
        const trace = graph.data[curveNumber];
        if (trace && trace.yaxis !== "y2" && trace.legendgroup && !found.has(trace.legendgroup)) found.set(trace.legendgroup, { x, y, trace });
      }
      const runs = [...found].slice(0, MOST);
      if (!runs.length) return clientside.no_update;
      const colorOf = (run) => {
        const mark = document.querySelector(`.start-menu[data-run="${CSS.escape(run)}"]`);
        const own = mark && mark.closest(".chip").querySelector(".swatch");
        return own ? getComputedStyle(own).getPropertyValue("--run-color") : "";
      };
      const nameOf = ({ trace }) => trace.name.replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&");
      const entries = runs.map(([run, point]) =>
        entry(`Start ${nameOf(point)} here`, colorOf(run), () => {
          const data = { run, metric, x: clientside.compare.position(point.x, axis), at: performance.now() };
          clientside.set_props("start-asked", { data });
        })
      );
      const line = document.getElementById("target-shown");
      if (line && line.dataset.target === metric) {
        const nearest = runs.map(([, point]) => point).sort((a, b) => distance(graph, a.y) - distance(graph, b.y))[0];
        const value = Number(Number(nearest.y).toPrecision(5));
        entries.push(entry(`Target ${plain(value)}`, "", () => clientside.set_props("target", { value })));
      }
      open(`At ${plain(runs[0][1].x)}`, entries);
      return clientside.no_update;
    },

    // Menus on the chips → address. A field that was just drawn reports nothing: null; an emptied one says "".
    toAddress(_, search) {
      const parameters = new URLSearchParams(search);
      for (const { prop_id: source, value } of clientside.callback_context.triggered) {
        if (value === null || value === undefined) continue;
        const run = JSON.parse(source.slice(0, source.lastIndexOf("."))).run;
        const menu = menus().find((element) => element.dataset.run === run);
        const step = value === "" ? "" : Number(value);
        if (!menu || step === shownStep(parameters, menu) || (step !== "" && !Number.isSafeInteger(step))) continue;
        moved(parameters, menu, step);
      }
      const next = written(parameters);
      return next === written(new URLSearchParams(search)) ? clientside.no_update : next;
    },

    // Address → menus.
    show(search) {
      const parameters = new URLSearchParams(search);
      requestAnimationFrame(() => {
        for (const menu of menus()) {
          const step = shownStep(parameters, menu);
          menu.querySelector(".start-shown").textContent = step === "" ? "" : `from step ${step.toLocaleString("en").replace("-", "\u2212")}`;
          clientside.set_props({ type: "start", run: menu.dataset.run }, { value: step });
        }
      });
      return clientside.no_update;
    },
  };

  function distance(graph, y) {
    const { yaxis } = graph._fullLayout;
    return Math.abs(graph.getBoundingClientRect().top + yaxis._offset + yaxis.d2p(y) - pointer.clientY);
  }

  // The chips scroll, and would cut off what hangs below them: their menus stand free on the page.
  function place(menu) {
    const box = menu.querySelector("summary").getBoundingClientRect();
    const body = menu.querySelector("summary + div");
    body.style.left = Math.max(8, Math.min(box.left, innerWidth - body.offsetWidth - 8)) + "px";
    body.style.top = box.bottom + 4 + "px";
  }
  document.addEventListener(
    "toggle",
    (event) => {
      if (!event.target.matches || !event.target.matches(".start-menu[open]")) return;
      place(event.target);
      const field = event.target.querySelector("input");
      if (field) field.focus({ preventScroll: true }), field.select();
    },
    true
  );
  ["scroll", "resize"].forEach((kind) => addEventListener(kind, () => menus().forEach((menu) => menu.open && place(menu)), { passive: true }));
})();
