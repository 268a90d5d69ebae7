// How cells of the run table look. Everything is React text: a run's name is never read as markup.
(function () {
  const element = (...given) => window.React.createElement(...given);
  const cells = (window.dashAgGridComponentFunctions = window.dashAgGridComponentFunctions || {});
  const functions = (window.dashAgGridFunctions = window.dashAgGridFunctions || {});
  const frameworks = { torch: "PyTorch", tensorflow: "TensorFlow" };

  const debug = (props) => "/debug?runs=" + encodeURIComponent(props.data.id);

  cells.State = (props) =>
    props.value === "failed"
      ? element("a", { className: "state failed", href: debug(props), title: "What went wrong" }, props.value)
      : element("span", { className: "state " + props.value }, props.value);

  cells.Name = (props) =>
    element(
      "span",
      { className: "run-name" },
      element("a", { href: "/run?id=" + encodeURIComponent(props.data.id), title: props.value }, props.value),
      props.data.non_finite
        ? element("a", { className: "badge nan", href: debug(props), title: props.data.non_finite }, "NaN")
        : null
    );

  cells.Framework = (props) =>
    props.value
      ? element("span", { className: "badge " + props.value, title: props.data.backend }, frameworks[props.value] || props.value)
      : null;

  cells.Progress = (props) => {
    const { last_step: last, total_steps: total } = props.data;
    const done = last === null ? 0 : last + 1;
    if (!total) return element("span", { className: "progress" }, last === null ? "–" : done.toLocaleString("en") + " steps");
    const share = Math.min(100, (100 * done) / total);
    return element(
      "div",
      { className: "progress" + (share >= 100 ? " done" : ""), title: done.toLocaleString("en") + " of " + total.toLocaleString("en") + " steps" },
      element("div", null, element("div", { style: { width: share + "%" } })),
      Math.floor(share) + " %"
    );
  };

  cells.Tags = (props) =>
    element("span", null, (props.value || []).map((tag) => element("span", { key: tag, className: "badge", style: { marginRight: 5 } }, tag)));

  functions.number = (value) => {
    if (value === null || value === undefined) return "–";
    if (typeof value !== "number") return { Infinity: "∞", "-Infinity": "−∞" }[value] || value;
    if (value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e6)) return value.toExponential(2);
    return Number.isInteger(value) ? String(value) : value.toPrecision(4);
  };
  functions.rate = (value) => (value === null || value === undefined ? "–" : value >= 100 ? Math.round(value).toLocaleString("en") + " /s" : Number(value.toPrecision(3)) + " /s");
  functions.stepTime = (value) => {
    if (value === null || value === undefined) return "–";
    if (value < 1e-3) return (value * 1e6).toPrecision(3) + " µs";
    return value < 1 ? (value * 1e3).toPrecision(3) + " ms" : value.toPrecision(3) + " s";
  };
  functions.duration = (value) => {
    if (value === null || value === undefined) return "–";
    const whole = Math.round(value);
    if (whole < 60) return whole + " s";
    if (whole < 3600) return Math.floor(whole / 60) + " min " + (whole % 60) + " s";
    if (whole < 86400) return Math.floor(whole / 3600) + " h " + Math.floor((whole % 3600) / 60) + " min";
    return Math.floor(whole / 86400) + " d " + Math.floor((whole % 86400) / 3600) + " h";
  };
  functions.ago = (value) => {
    if (!value) return "–";
    const passed = Date.now() / 1000 - value;
    return passed < 10 ? "just now" : functions.duration(passed).split(" ").slice(0, 2).join(" ") + " ago";
  };
  functions.utc = (value) => (value ? new Date(value * 1000).toISOString().replace("T", " ").slice(0, 19) + " UTC" : "");
  // A setting is shown as it was given: 1000000 is a seed, not 1.00e+6.
  functions.setting = (value) =>
    value === null || value === undefined ? "–" : typeof value !== "number" || Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(6)));
  // Numbers in order, then text in order, then nothing: also where the order is turned round.
  functions.numbersThenText = (a, b, _, __, descending) => {
    const rank = (value) => (typeof value === "number" ? 0 : value === null || value === undefined ? 2 : 1);
    const apart = rank(a) - rank(b);
    if (apart) return descending ? -apart : apart;
    return rank(a) === 0 ? a - b : rank(a) === 1 ? String(a).localeCompare(String(b), "en", { numeric: true }) : 0;
  };
  // Numbers in order, what is no number behind them: also where the order is turned round.
  functions.numbersFirst = (a, b, _, __, descending) => {
    const [left, right] = [typeof a === "number", typeof b === "number"];
    return left && right ? a - b : left === right ? 0 : left === Boolean(descending) ? 1 : -1;
  };
})();
