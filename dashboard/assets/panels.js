// Which panels the Compare page shows. Expressions are tried here and never on the server, which others share.
(function () {
  const clientside = (window.dash_clientside = window.dash_clientside || {});

  // What was typed as an expression; null where it is none.
  function expression(text) {
    try {
      return new RegExp(text, "i");
    } catch {
      return null;
    }
  }

  const chosen = (parameters, defaults) => (parameters.has("metric") ? parameters.getAll("metric").filter(Boolean) : defaults.metrics);

  // Metrics whose panels are left where training and validation share one, as runs/splits.py has it.
  const SPLITS = ["train", "val", "test"];
  function sharing(metrics) {
    const first = (metric) => {
      const [split, ...quantity] = metric.split("/");
      if (!SPLITS.includes(split)) return metric;
      return SPLITS.map((other) => [other, ...quantity].join("/")).find((other) => metrics.includes(other));
    };
    return metrics.filter((metric) => first(metric) === metric);
  }

  clientside.panels = {
    // Address → metrics that have a panel. Machine readings keep theirs, and hide.
    want(search, defaults, places, before) {
      const parameters = new URLSearchParams(search);
      const text = parameters.get("find") || "";
      const wanted = expression(text);
      const finding = text !== "" && wanted !== null;
      const machine = [...document.querySelectorAll("#system .panel")];
      const metricOf = (panel) => panel.querySelector(".place").dataset.metric;
      machine.forEach((panel) => (panel.hidden = finding && !wanted.test(metricOf(panel))));
      const asked = finding ? defaults.all.filter((metric) => wanted.test(metric)) : chosen(parameters, defaults);
      const metrics = parameters.get("splits") === "1" ? sharing(asked) : asked;
      const found = metrics.length + machine.filter((panel) => !panel.hidden).length;
      const all = defaults.all.length + machine.length;
      clientside.set_props("find", { error: wanted ? null : "This is not a complete regular expression: close every bracket, or put \\ before it." });
      clientside.set_props("found", { children: !finding ? "" : found ? `${found} of ${all} metrics` : `None of ${all} metrics matches.` });
      return JSON.stringify(metrics) === JSON.stringify(before) ? clientside.no_update : metrics;
    },

    // A download of the page has the panels that were found.
    replaceFound(parameters) {
      const text = parameters.get("find");
      parameters.delete("find");
      if (!text || !expression(text)) return;
      parameters.delete("metric");
      const places = [...document.querySelectorAll("#panels .place")];
      (places.length ? places : [null]).forEach((place) => parameters.append("metric", place ? place.dataset.metric : ""));
    },
  };
})();
