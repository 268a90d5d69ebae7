// Timeline of one step of several runs: a row a thread, drawn on one canvas so that thousands of slices zoom at once.
(function () {
  const ROW = 15; // pixels of one depth of a thread
  const LANE_GAP = 7;
  const LANE_NAME = 15;
  const RUN_HEAD = 26;
  const AXIS = 22;
  const PAD = 12;
  const SETTLE = 160; // milliseconds without zooming before more detail is asked for
  const ASK_AGAIN = 500;

  let current = null;

  // Called whenever the address or the runs change; the same timeline goes on where it can.
  window.tracksideTimeline = (node, config, view) => {
    if (!node) return;
    if (!current || current.node !== node || current.config !== config) {
      if (current) current.end();
      current = new Timeline(node, config);
    }
    current.show(view);
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest && event.target.closest("button[data-zoom]");
    if (button && current) current.control(button.dataset.zoom);
  });

  const amount = (microseconds) => {
    const size = Math.abs(microseconds);
    if (size < 1000) return Number(microseconds.toPrecision(3)) + " µs";
    return size < 1e6 ? Number((microseconds / 1e3).toPrecision(3)) + " ms" : Number((microseconds / 1e6).toPrecision(3)) + " s";
  };

  const dark = (color) => {
    const [red, green, blue] = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
    return 0.299 * red + 0.587 * green + 0.114 * blue < 140;
  };

  class Timeline {
    constructor(node, config) {
      Object.assign(this, { node, config, asked: new Map(), data: new Map(), boxes: [], range: null, pinned: null });
      node.replaceChildren();
      this.canvas = node.appendChild(document.createElement("canvas"));
      this.canvas.tabIndex = 0;
      this.canvas.setAttribute("role", "img");
      this.said = node.appendChild(document.createElement("p"));
      this.said.className = "soft timeline-said";
      this.said.setAttribute("role", "status");
      this.tip = node.appendChild(document.createElement("div"));
      this.tip.className = "timeline-tip";
      this.tip.hidden = true;
      this.context = this.canvas.getContext("2d");
      this.listen();
      this.sizes = new ResizeObserver(() => this.draw());
      this.sizes.observe(node);
      this.scheme = new MutationObserver(() => this.draw());
      this.scheme.observe(document.documentElement, { attributes: true, attributeFilter: ["data-mantine-color-scheme"] });
    }

    end() {
      this.ended = true;
      this.sizes.disconnect();
      this.scheme.disconnect();
      clearTimeout(this.settling);
    }

    show(view) {
      const moved = !this.view || this.view.step !== view.step;
      this.view = view;
      this.range = view.range && view.range.map((end) => end * 1000);
      if (moved) {
        this.data.clear();
        this.asked.clear();
        this.pinned = null;
      }
      this.fetchAll();
      this.draw();
    }

    whole() {
      const ends = this.config.runs.map((run) => {
        const data = this.data.get(run.id);
        return Math.max((run.steps[this.view.step] || 0) * 1e6, data && data.end ? data.end : 0);
      });
      return Math.max(...ends, 1);
    }

    visible() {
      return this.range || [0, this.whole()];
    }

    zoom(range) {
      const whole = this.whole();
      if (range) {
        let [begin, end] = range;
        const width = Math.min(Math.max(end - begin, 0.5), whole);
        begin = Math.min(Math.max(begin, 0), whole - width);
        range = width >= whole * 0.999 ? null : [begin, begin + width];
      }
      this.range = range;
      this.draw();
      clearTimeout(this.settling);
      this.settling = setTimeout(() => {
        this.view.zoomed(range && range.map((end) => end / 1000));
        this.fetchAll();
      }, SETTLE);
    }

    control(action) {
      const [begin, end] = this.visible();
      const middle = (begin + end) / 2;
      const factor = { in: 0.5, out: 2 }[action];
      if (action === "reset") this.zoom(null);
      else if (factor) this.zoom([middle - ((end - begin) * factor) / 2, middle + ((end - begin) * factor) / 2]);
    }

    // ---- Slices ----

    fetchAll() {
      this.config.runs.forEach((run) => this.fetch(run));
    }

    // What is there is enough if it covers the view and nothing of it was left out.
    async fetch(run) {
      if (run.steps[this.view.step] === undefined) return;
      const [begin, end] = this.range || [0, Infinity];
      const had = this.data.get(run.id);
      if (had && had.begin <= begin && had.stop >= end && !had.hidden) return;
      const key = `${this.view.step},${begin},${end}`;
      if (this.asked.get(run.id) === key) return;
      this.asked.set(run.id, key);
      const window = this.range ? `&from=${begin / 1e6}&to=${end / 1e6}` : "";
      let data;
      try {
        const response = await fetch(`/profile/timeline?run=${encodeURIComponent(run.id)}&rank=${this.config.rank}&step=${this.view.step}${window}`);
        data = await response.json();
      } catch (failed) {
        data = { error: "The timeline could not be fetched: is the dashboard still running?" };
      }
      if (this.ended || this.asked.get(run.id) !== key) return;
      if (data.busy) {
        this.busy = true;
        this.say();
        this.asked.delete(run.id);
        return setTimeout(() => !this.ended && this.fetch(run), ASK_AGAIN);
      }
      Object.assign(data, { begin, stop: end });
      if (data.error && !(had && had.start)) this.data.set(run.id, data);
      else if (!data.error) this.data.set(run.id, data);
      this.asked.delete(run.id);
      this.draw();
    }

    // ---- Drawing ----

    draw() {
      if (this.ended || !this.view) return;
      cancelAnimationFrame(this.frame);
      this.frame = requestAnimationFrame(() => this.paint());
    }

    paint() {
      const width = this.node.clientWidth;
      if (!width) return;
      const places = this.place();
      const height = places.height;
      const ratio = devicePixelRatio || 1;
      if (this.canvas.width !== Math.round(width * ratio) || this.canvas.height !== Math.round(height * ratio)) {
        this.canvas.width = Math.round(width * ratio);
        this.canvas.height = Math.round(height * ratio);
        this.canvas.style.height = height + "px";
      }
      const style = getComputedStyle(document.documentElement);
      const color = (name) => style.getPropertyValue("--ts-" + name).trim();
      this.colors = { text: color("text"), soft: color("soft"), line: color("line"), grid: color("grid"), raised: color("raised"), surface: color("surface"), accent: color("accent") };
      const context = this.context;
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      context.clearRect(0, 0, width, height);
      context.font = `11px ${getComputedStyle(document.body).fontFamily}`;
      context.textBaseline = "middle";
      this.boxes = [];
      this.axis(width, height);
      for (const run of places.runs) this.paintRun(run, width);
      if (this.dragging) {
        const [left, right] = [this.dragging.from, this.dragging.to].sort((a, b) => a - b);
        context.fillStyle = this.colors.accent;
        context.globalAlpha = 0.16;
        context.fillRect(left, AXIS, right - left, height - AXIS);
        context.globalAlpha = 1;
      }
      this.say();
    }

    // Where runs and lanes stand, which depends on the step but not on the zoom.
    place() {
      let top = AXIS;
      const runs = this.config.runs.map((run) => {
        const data = this.data.get(run.id);
        const placed = { run, data, top, lanes: [] };
        top += RUN_HEAD;
        if (data && data.lanes)
          data.lanes.forEach((name, lane) => {
            placed.lanes.push({ name, top });
            top += LANE_NAME + data.depths[lane] * ROW + LANE_GAP;
          });
        else top += 44;
        top += 6;
        return placed;
      });
      return { runs, height: top + 4 };
    }

    x(time) {
      const [begin, end] = this.visible();
      return PAD + ((time - begin) / (end - begin)) * (this.node.clientWidth - 2 * PAD);
    }

    time(x) {
      const [begin, end] = this.visible();
      return begin + ((x - PAD) / (this.node.clientWidth - 2 * PAD)) * (end - begin);
    }

    axis(width, height) {
      const [begin, end] = this.visible();
      const context = this.context;
      const rough = (end - begin) / Math.max(width / 110, 2);
      const power = 10 ** Math.floor(Math.log10(rough));
      const gap = [1, 2, 5, 10].map((step) => step * power).find((step) => step >= rough);
      context.textAlign = "center";
      for (let tick = Math.ceil(begin / gap) * gap; tick <= end; tick += gap) {
        const x = Math.round(this.x(tick)) + 0.5;
        context.strokeStyle = this.colors.grid;
        context.beginPath();
        context.moveTo(x, AXIS - 4);
        context.lineTo(x, height);
        context.stroke();
        context.fillStyle = this.colors.soft;
        const text = Math.abs(tick) < gap / 1e6 ? "0" : amount(Number(tick.toPrecision(9)));
        context.fillText(text, Math.min(Math.max(x, 24), width - 24), AXIS / 2 - 1);
      }
    }

    paintRun({ run, data, top, lanes }, width) {
      const context = this.context;
      context.textAlign = "left";
      context.fillStyle = this.colors.raised;
      context.fillRect(0, top + 2, width, RUN_HEAD - 6);
      context.fillStyle = run.color;
      context.fillRect(PAD, top + RUN_HEAD / 2 - 3, 14, 4);
      context.fillStyle = this.colors.text;
      context.font = context.font.replace(/^(600 )?/, "600 ");
      const took = run.steps[this.view.step];
      context.fillText(run.label + (took ? `   ${amount(took * 1e6)}` : ""), PAD + 21, top + RUN_HEAD / 2);
      context.font = context.font.replace("600 ", "");
      context.fillStyle = this.colors.soft;
      if (!data || !data.lanes) {
        const text = took === undefined ? "This run recorded fewer steps." : data && data.error ? data.error : "Reading the trace …";
        return context.fillText(text, PAD, top + RUN_HEAD + 18);
      }
      for (const lane of lanes) context.fillText(lane.name, PAD, lane.top + LANE_NAME / 2);
      const [begin, end] = this.visible();
      const last = new Map(); // right edge and colour of what was painted last in a row: slivers on each other are one
      for (let at = 0; at < data.start.length; at++) {
        const start = data.start[at];
        const stop = start + data.duration[at];
        if (stop < begin || start > end) continue;
        const left = Math.max(this.x(start), 0);
        const size = Math.max(Math.min(this.x(stop), width) - left, 0.75);
        const y = lanes[data.lane[at]].top + LANE_NAME + data.depth[at] * ROW;
        if (size < 1) {
          const row = `${y},${Math.floor(left)}`;
          if (last.has(row)) continue;
          last.set(row, true);
        }
        this.slice(data, at, left, y, size, run);
      }
    }

    slice(data, at, left, y, size, run) {
      const context = this.context;
      const { family, direction } = this.view;
      const own = data.family[at];
      const color = own < 0 ? this.colors.line : this.config.colors[own];
      const faint = family >= 0 && (own !== family || (direction >= 0 && data.direction[at] !== direction));
      const pinned = this.pinned && this.pinned.name === data.names[data.name[at]];
      context.globalAlpha = faint ? 0.16 : 1;
      context.fillStyle = color;
      const wide = size > 3;
      context.fillRect(left, y, wide ? size - 0.6 : size, ROW - 1.5);
      if (wide && own >= 0 && this.config.directions[data.direction[at]] === "backward") this.hatch(left, y, size - 0.6);
      if (pinned) {
        context.strokeStyle = this.colors.text;
        context.strokeRect(left + 0.5, y + 0.5, Math.max(size - 1.6, 1), ROW - 2.5);
      }
      if (size > 34) {
        context.fillStyle = own < 0 ? this.colors.text : dark(color) ? "#ffffff" : "#15181d";
        const room = Math.floor((size - 8) / 5.6);
        const whole = data.names[data.name[at]];
        const name = whole.length > room ? whole.split("::").pop() : whole;
        if (room > 3) context.fillText(name.length > room ? name.slice(0, room - 1) + "…" : name, left + 4, y + ROW / 2 - 0.5);
      }
      context.globalAlpha = 1;
      this.boxes.push({ left, right: left + size, y, data, at, run });
    }

    hatch(left, y, size) {
      const context = this.context;
      context.save();
      context.beginPath();
      context.rect(left, y, size, ROW - 1.5);
      context.clip();
      context.strokeStyle = "rgb(255 255 255 / 24%)";
      context.lineWidth = 2;
      context.beginPath();
      const first = Math.floor((left - ROW) / 7) * 7;
      for (let x = first; x < left + size; x += 7) {
        context.moveTo(x, y + ROW);
        context.lineTo(x + ROW, y);
      }
      context.stroke();
      context.restore();
    }

    // What is not seen, and what was chosen; also the place where a reader of the page without eyes finds it.
    say() {
      const parts = [];
      const waiting = this.config.runs.filter((run) => run.steps[this.view.step] !== undefined && !this.data.has(run.id)).length;
      if (waiting) parts.push("Reading the trace …");
      for (const run of this.config.runs) {
        const data = this.data.get(run.id);
        if (!data || !data.lanes) continue;
        if (data.hidden) parts.push(`${run.label}: the longest ${data.shown.toLocaleString("en")} slices are drawn, ${data.hidden.toLocaleString("en")} shorter ones are hidden: zoom in to see them.`);
        if (data.lanes_left_out) parts.push(`${run.label}: ${data.lanes_left_out} quieter threads are left out.`);
      }
      if (this.pinned) parts.unshift(this.pinned.text);
      const text = parts.join(" ");
      if (this.said.textContent !== text) this.said.textContent = text;
      const drawn = [...this.data.values()].reduce((sum, data) => sum + (data.shown || 0), 0);
      const [begin, end] = this.visible();
      Object.assign(this.node.dataset, { drawn, begin: begin / 1000, end: end / 1000, step: this.view.step });
      const runs = this.config.runs.map((run) => run.label).join(" and ");
      this.canvas.setAttribute("aria-label", `Timeline of ${runs} from ${amount(begin)} to ${amount(end)}. Arrows move, plus and minus zoom, 0 shows the whole step.`);
    }

    // ---- Hands ----

    listen() {
      const canvas = this.canvas;
      const at = (event) => event.clientX - canvas.getBoundingClientRect().left;
      canvas.addEventListener("pointerdown", (event) => {
        if (event.button !== 0 || event.pointerType === "touch") return;
        canvas.setPointerCapture(event.pointerId);
        this.dragging = { from: at(event), to: at(event), pan: event.shiftKey ? this.visible() : null };
      });
      canvas.addEventListener("pointermove", (event) => {
        if (!this.dragging) return this.point(event);
        this.dragging.to = at(event);
        this.tip.hidden = true;
        if (!this.dragging.pan) return this.draw();
        const [begin, end] = this.dragging.pan;
        const shift = ((this.dragging.from - this.dragging.to) / (this.node.clientWidth - 2 * PAD)) * (end - begin);
        this.zoom([begin + shift, end + shift]);
      });
      canvas.addEventListener("pointerup", (event) => {
        const drag = this.dragging;
        this.dragging = null;
        if (!drag || drag.pan) return;
        const [left, right] = [drag.from, drag.to].sort((a, b) => a - b);
        if (right - left > 4) return this.zoom([this.time(left), this.time(right)]);
        this.pin(this.under(event));
      });
      canvas.addEventListener("pointercancel", () => ((this.dragging = null), this.draw()));
      canvas.addEventListener("pointerleave", () => (this.tip.hidden = true));
      canvas.addEventListener("dblclick", () => this.zoom(null));
      canvas.addEventListener(
        "wheel",
        (event) => {
          if (!event.ctrlKey && !event.metaKey) return; // the page scrolls
          event.preventDefault();
          const [begin, end] = this.visible();
          const fixed = this.time(at(event));
          const factor = Math.exp(Math.min(Math.max(event.deltaY, -120), 120) / 240);
          this.zoom([fixed - (fixed - begin) * factor, fixed + (end - fixed) * factor]);
        },
        { passive: false }
      );
      canvas.addEventListener("keydown", (event) => {
        if (event.ctrlKey || event.metaKey || event.altKey) return;
        const [begin, end] = this.visible();
        const shift = { ArrowLeft: -0.2, ArrowRight: 0.2 }[event.key];
        const action = { "+": "in", "=": "in", "-": "out", 0: "reset", Home: "reset" }[event.key];
        if (!shift && !action) return;
        event.preventDefault();
        action ? this.control(action) : this.range && this.zoom([begin + shift * (end - begin), end + shift * (end - begin)]);
      });
    }

    under(event) {
      const box = this.canvas.getBoundingClientRect();
      const [x, y] = [event.clientX - box.left, event.clientY - box.top];
      let found = null;
      for (const one of this.boxes)
        if (y >= one.y && y < one.y + ROW && x >= one.left - 1 && x <= one.right + 1 && (!found || one.right - one.left < found.right - found.left)) found = one;
      return found;
    }

    words({ data, at, run }) {
      const family = data.family[at] < 0 ? "" : this.config.families[data.family[at]];
      const direction = family && this.config.directions[data.direction[at]] !== "none" ? ", " + this.config.directions[data.direction[at]] : "";
      return {
        name: data.names[data.name[at]],
        lines: [
          `${amount(data.duration[at])}, from ${amount(data.start[at])} of the step`,
          [family + direction, data.layers[data.layer[at]]].filter(Boolean).join(" · "),
          `${run.label} · ${data.lanes[data.lane[at]]}`,
        ].filter(Boolean),
      };
    }

    point(event) {
      const found = this.under(event);
      this.tip.hidden = !found;
      if (!found) return;
      const { name, lines } = this.words(found);
      this.tip.replaceChildren(
        ...[name, ...lines].map((text, line) => {
          const row = document.createElement(line ? "div" : "strong");
          row.textContent = text;
          return row;
        })
      );
      const box = this.node.getBoundingClientRect();
      const x = event.clientX - box.left;
      const width = this.tip.offsetWidth;
      this.tip.style.left = Math.max(Math.min(x + 14, box.width - width - 4), 4) + "px";
      this.tip.style.top = event.clientY - box.top + 16 + "px";
    }

    pin(found) {
      const words = found && this.words(found);
      this.pinned = words ? { name: words.name, text: `${words.name}: ${words.lines.join("; ")}.` } : null;
      this.draw();
    }
  }
})();
