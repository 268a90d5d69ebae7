// The line of the target: across the panel of the loss that runs are timed to. It is dragged, or moved with the arrows.
(function () {
  const clientside = (window.dash_clientside = window.dash_clientside || {});
  const followed = new WeakSet(); // graphs whose drawing is followed
  const IDLE = 400; // milliseconds after the last arrow key
  const EDGE = 24; // pixels at top and bottom where the marks of NaN and infinity are, which are there to be clicked
  const SMALL = 2, LARGE = 16; // pixels an arrow key moves it, and with Shift

  const shown = () => {
    const { target = "", value = "nan", chosen = "" } = (document.getElementById("target-shown") || { dataset: {} }).dataset;
    return { metric: target, value: Number(value), chosen: chosen === "1" };
  };
  const written = (value) => (Math.abs(value) >= 1e-3 && Math.abs(value) < 1e6) || value === 0 ? String(Number(value.toPrecision(5))) : value.toExponential(3);

  // Where training and validation share a panel, it is that of the training.
  function placeOf(metric) {
    const places = [...document.querySelectorAll(".place")];
    return [metric, metric.replace(/^val\//, "train/")].map((name) => places.find((element) => element.dataset.metric === name)).find(Boolean);
  }

  function graphOf(metric) {
    const place = placeOf(metric);
    const graph = place && place.querySelector(".js-plotly-plot");
    return graph && graph._fullLayout && graph._fullLayout.yaxis && graph._fullLayout.yaxis.d2p ? graph : null;
  }

  // No more digits than a pixel can tell.
  function rounded(axis, pixel) {
    const value = axis.p2d(pixel);
    const finest = Math.abs(axis.p2d(pixel + 1) - value) || Math.abs(value) || 1;
    const digits = value ? Math.ceil(Math.log10(Math.abs(value) / finest)) + 1 : 1;
    return Number(value.toPrecision(Math.min(Math.max(digits, 2), 15)));
  }

  let held = null; // where a hand or a key has moved it, in pixels from the top of the panel, before that is in the address
  let timer = 0;

  function lineOf(graph) {
    let line = graph.querySelector(":scope > .target-line");
    if (line) return line;
    line = document.createElement("div");
    line.className = "target-line";
    line.tabIndex = 0;
    line.setAttribute("role", "slider");
    line.setAttribute("aria-orientation", "vertical");
    line.append(document.createElement("span"));
    graph.style.position = "relative";
    graph.append(line);
    listen(line, graph);
    return line;
  }

  function place(graph) {
    const { metric, value, chosen } = shown();
    const line = lineOf(graph);
    const { xaxis, yaxis } = graph._fullLayout;
    const known = held !== null || (Number.isFinite(value) && (yaxis.type !== "log" || value > 0));
    line.hidden = graphOf(metric) !== graph || !known;
    if (line.hidden) return;
    const exact = held === null ? yaxis.d2p(value) : held;
    const pixel = Math.min(Math.max(exact, 0), yaxis._length);
    const now = held === null ? value : rounded(yaxis, pixel);
    const beyond = exact < -0.5 ? " ↑" : exact > yaxis._length + 0.5 ? " ↓" : "";
    line.style.left = xaxis._offset + "px";
    line.style.width = xaxis._length + "px";
    line.style.top = yaxis._offset + pixel + "px";
    line.classList.toggle("chosen", chosen || held !== null);
    line.classList.toggle("raised", pixel > yaxis._length - EDGE);
    line.classList.toggle("lowered", pixel < EDGE);
    line.firstChild.textContent = (chosen || held !== null ? "target " : "best all reached ") + written(now) + beyond;
    line.setAttribute("aria-label", "Target of " + metric);
    line.setAttribute("aria-valuenow", String(now));
    const ends = yaxis.range.map((end) => (yaxis.type === "log" ? 10 ** end : end)).sort((a, b) => a - b);
    line.setAttribute("aria-valuemin", String(Number(ends[0].toPrecision(5))));
    line.setAttribute("aria-valuemax", String(Number(ends[1].toPrecision(5))));
    line.setAttribute("aria-valuetext", written(now) + (chosen || held !== null ? "" : ", the best that all reached"));
    line.firstChild.title = "The runs are timed to this value: drag it, or use the arrow keys; Delete goes back to the best that all reached";
  }

  function choose(graph) {
    clearTimeout(timer);
    if (held === null) return;
    const value = rounded(graph._fullLayout.yaxis, held);
    // Until the table has followed, the line stays where it was put.
    Object.assign(document.getElementById("target-shown").dataset, { value: String(value), chosen: "1" });
    held = null;
    place(graph);
    clientside.set_props("target", { value });
  }

  function drop(graph) {
    clearTimeout(timer);
    held = null;
    place(graph);
  }

  function listen(line, graph) {
    let grip = 0, from = 0, moved = false;
    const length = () => graph._fullLayout.yaxis._length;
    const here = () => Number.parseFloat(line.style.top) - graph._fullLayout.yaxis._offset;
    line.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      event.preventDefault(), event.stopPropagation();
      line.focus({ preventScroll: true });
      line.firstChild.setPointerCapture(event.pointerId);
      (grip = event.clientY), (from = here()), (moved = false);
    });
    line.addEventListener("pointermove", (event) => {
      if (!line.firstChild.hasPointerCapture(event.pointerId) || (!moved && Math.abs(event.clientY - grip) < 2)) return;
      moved = true;
      held = Math.min(Math.max(from + event.clientY - grip, 0), length());
      place(graph);
    });
    line.addEventListener("pointerup", () => moved && choose(graph));
    line.addEventListener("pointercancel", () => drop(graph));
    line.addEventListener("blur", () => held !== null && !moved && choose(graph));
    line.addEventListener("keydown", (event) => {
      const direction = { ArrowUp: -1, ArrowRight: -1, ArrowDown: 1, ArrowLeft: 1 }[event.key];
      if (direction) {
        (moved = false), (held = Math.min(Math.max((held === null ? here() : held) + direction * (event.shiftKey ? LARGE : SMALL), 0), length()));
        place(graph);
        clearTimeout(timer);
        timer = setTimeout(() => choose(graph), IDLE);
      } else if (event.key === "Escape" && held !== null) drop(graph);
      else if (event.key === "Delete" || event.key === "Backspace") drop(graph), clientside.set_props("target", { value: "" });
      else return;
      event.preventDefault(), event.stopPropagation();
    });
  }

  clientside.target = {
    // The table was drawn, or a panel: the line goes where they say.
    draw() {
      const patience = performance.now() + 4000;
      const { metric } = shown();
      const look = () => {
        // Not that of a panel which is about to be drawn anew: what is hidden loses the focus.
        const own = placeOf(metric);
        document.querySelectorAll(".target-line").forEach((line) => (line.hidden = line.hidden || !own || !own.contains(line)));
        const graph = metric && graphOf(metric);
        if (!graph) return void (metric && performance.now() < patience && requestAnimationFrame(look));
        if (!followed.has(graph)) followed.add(graph), graph.on("plotly_afterplot", () => held === null && place(graph));
        place(graph);
      };
      requestAnimationFrame(look);
      return clientside.no_update;
    },
  };
})();
