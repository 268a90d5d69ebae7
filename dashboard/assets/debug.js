// The Debug page: reads single cells of its heatmaps, and leads to the record that the address names.
(function () {
  const clientside = (window.dash_clientside = window.dash_clientside || {});
  const NOTHING = -3.4028234663852886e38; // where nothing was measured
  const decoded = new WeakMap();

  // Smallest and largest value of every cell, decoded when first pointed at.
  function values(picture) {
    if (!decoded.has(picture)) {
      const bytes = Uint8Array.from(atob(picture.dataset.values), (character) => character.charCodeAt(0));
      decoded.set(picture, new DataView(bytes.buffer));
    }
    return decoded.get(picture);
  }

  function written(value) {
    if (Number.isNaN(value)) return "NaN";
    if (!Number.isFinite(value)) return value > 0 ? "+∞" : "−∞";
    return value === 0 || Math.abs(value) >= 1e-3 && Math.abs(value) < 1e6 ? String(Number(value.toPrecision(5))) : value.toExponential(3);
  }

  function say(heatmap, row, column) {
    const picture = heatmap.querySelector(".heat-picture");
    const labels = heatmap.querySelectorAll(".heat-label");
    const columns = Number(picture.dataset.columns), width = Number(picture.dataset.width);
    const cursor = picture.querySelector(".heat-cursor");
    Object.assign(cursor.style, {
      display: "block", left: (100 * column) / columns + "%", width: 100 / columns + "%",
      top: (100 * row) / labels.length + "%", height: 100 / labels.length + "%",
    });
    const first = Number(picture.dataset.first) + column * width;
    const steps = width > 1 ? `steps ${first.toLocaleString("en")}–${(first + width - 1).toLocaleString("en")}` : `step ${first.toLocaleString("en")}`;
    const view = values(picture);
    const low = view.getFloat32(4 * ((2 * row) * columns + column), true);
    const high = view.getFloat32(4 * ((2 * row + 1) * columns + column), true);
    const layer = labels[row].dataset.layer;
    const value = !layer ? "no such layer" : low === NOTHING ? "not measured" : low === high || Number.isNaN(low) ? written(high) : `${written(low)} … ${written(high)}`;
    heatmap.querySelector(".heat-readout").textContent = `${layer ? layer + ", " : ""}${steps}: ${value}`;
  }

  // All heatmaps of the row answer together: the same layer at the same step of every run.
  function read(picture, row, column) {
    const rows = picture.closest(".heatmap").querySelectorAll(".heat-label").length;
    row = Math.min(Math.max(row, 0), rows - 1);
    column = Math.min(Math.max(column, 0), Number(picture.dataset.columns) - 1);
    picture.dataset.row = row;
    picture.dataset.column = column;
    picture.closest(".heatmaps").querySelectorAll(".heatmap").forEach((heatmap) => say(heatmap, row, column));
  }

  const pictureOf = (event) => event.target.closest && event.target.closest(".heat-picture");
  const point = (event) => {
    const picture = pictureOf(event);
    if (!picture) return;
    const box = picture.getBoundingClientRect();
    const rows = picture.closest(".heatmap").querySelectorAll(".heat-label").length;
    read(picture, Math.floor(((event.clientY - box.top) / box.height) * rows), Math.floor(((event.clientX - box.left) / box.width) * Number(picture.dataset.columns)));
  };
  document.addEventListener("pointermove", point);
  document.addEventListener("pointerdown", point);

  const MOVES = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  document.addEventListener("keydown", (event) => {
    const picture = pictureOf(event);
    if (!picture || !(event.key in MOVES)) return;
    event.preventDefault();
    const begun = "row" in picture.dataset;
    const [down, right] = begun ? MOVES[event.key] : [0, 0];
    read(picture, Number(picture.dataset.row || 0) + down, Number(picture.dataset.column || 0) + right);
  });

  // The hover box gathers what lies above and below the pointer; only a press on the mark itself is meant for it.
  let press = null;
  document.addEventListener("pointerdown", (event) => (press = event), true);
  function pressed(bbox) {
    if (!press || !bbox) return true;
    const middle = (bbox.y0 + bbox.y1) / 2;
    return Math.min(Math.abs(press.clientY - middle), Math.abs(press.pageY - middle)) < 14;
  }

  let shown = "";
  clientside.debug = {
    // The record that the address names: opened, marked, and brought into view once.
    show(search) {
      const named = new URLSearchParams(search).get("record") || "";
      requestAnimationFrame(() => {
        const [run, step] = [named.slice(0, named.lastIndexOf(":")), Number(named.slice(named.lastIndexOf(":") + 1))];
        const cards = [...document.querySelectorAll("details.record")];
        cards.forEach((card) => card.classList.remove("named"));
        const own = cards.filter((card) => card.dataset.run === run);
        // A mark on a curve may lie behind the record that tells of the first.
        const order = own.filter((card) => card.classList.contains("non_finite")).sort((a, b) => a.dataset.step - b.dataset.step);
        const before = order.filter((card) => Number(card.dataset.step) <= step).at(-1) || order[0] || own[0];
        const card = own.find((one) => Number(one.dataset.step) === step) || before;
        if (!named || !card) return;
        card.classList.add("named");
        if (shown === search) return;
        shown = search;
        card.open = true;
        card.scrollIntoView({ block: "center" });
        card.querySelector("summary").focus({ preventScroll: true });
      });
      return clientside.no_update;
    },

    // The mark of a value that was not finite, where a click was meant for it.
    meant: (clicked) => clicked.points.find(({ customdata: data, bbox }) => typeof data === "string" && data.startsWith("/debug?") && pressed(bbox)),

    // A mark on a curve, where a value was not finite → the record of it.
    follow() {
      const clicked = clientside.callback_context.triggered.map(({ value }) => value).find(Boolean);
      const mark = clicked && clientside.debug.meant(clicked);
      if (mark) {
        const [pathname, search] = mark.customdata.split("?");
        const runs = new URLSearchParams(location.search).get("runs");
        clientside.set_props("url", { pathname, search: "?" + (runs ? "runs=" + runs.split(",").map(encodeURIComponent).join(",") + "&" : "") + search });
      }
      return clientside.no_update;
    },
  };
})();
