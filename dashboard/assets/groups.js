// Groups of the run table. A group is one more row of the grid, made here: the grid sorts and filters as always, and
// afterwards the rows are put in groups, each behind its own row. What is grouped, folded and sorted is in the address.
(function () {
  const clientside = (window.dash_clientside = window.dash_clientside || {});
  const cells = (window.dashAgGridComponentFunctions = window.dashAgGridComponentFunctions || {});
  const functions = (window.dashAgGridFunctions = window.dashAgGridFunctions || {});
  const element = (...given) => window.React.createElement(...given);
  const frameworks = { torch: "PyTorch", tensorflow: "TensorFlow" };
  const nothing = { project: "No project", workload: "No workload", group: "No group", framework: "Plain loop", state: "No state" };

  const parameters = () => new URLSearchParams(location.search);
  const isGroup = (row) => row !== undefined && row !== null && row.group_of !== undefined;
  const keyOf = (row, by) => (row[by] === null || row[by] === undefined ? "" : String(row[by]));
  const runs = (count) => count.toLocaleString("en") + (count === 1 ? " run" : " runs");

  let members = new Map(); // of each group, the nodes that fit the filters, in the table's order

  functions.isGroup = isGroup;
  functions.isRun = (row) => !isGroup(row);
  functions.groupSpan = (params) => (isGroup(params.data) ? 2 : 1);
  functions.groupCell = (params) => (isGroup(params.data) ? { component: "Group" } : undefined);

  // The grid's hook: `nodes` is the table from top to bottom. Groups stand in the order of their first run.
  functions.arrangeGroups = (nodes) => {
    const asked = parameters();
    const by = asked.get("by");
    const heads = new Map();
    members = new Map();
    const rows = [];
    nodes.forEach((node) => (isGroup(node.data) ? heads.set(node.data.group_of, node) : rows.push(node)));
    if (!by) return heads.size && replace(nodes, rows);
    for (const node of rows) {
      const key = keyOf(node.data, by);
      members.has(key) ? members.get(key).push(node) : members.set(key, [node]);
    }
    const folded = new Set(asked.getAll("folded"));
    const ordered = [];
    for (const [key, group] of members) {
      const head = heads.get(key);
      if (head) ordered.push(head);
      if (!head || !folded.has(key)) for (const node of group) ordered.push(node);
    }
    replace(nodes, ordered);
  };

  function replace(nodes, ordered) {
    nodes.length = ordered.length;
    ordered.forEach((node, place) => (nodes[place] = node));
  }

  // A row for each group that there is, and none for others.
  function addHeads(grid) {
    const by = parameters().get("by");
    const wanted = new Set();
    const there = new Map();
    grid.forEachNode(({ data }) => (isGroup(data) ? there.set(data.group_of, data) : by && wanted.add(keyOf(data, by))));
    const add = [...wanted].filter((key) => !there.has(key)).map((key) => ({ id: "group:" + key, group_of: key, form: [], tags: [] }));
    const remove = [...there.values()].filter((row) => !wanted.has(row.group_of));
    if (add.length || remove.length) grid.applyTransaction({ add, remove });
  }

  function arrange(grid) {
    addHeads(grid);
    grid.refreshClientSideRowModel("sort");
  }

  function showNumbers(grid) {
    const rowNodes = [];
    for (const key of members.keys()) {
      const node = grid.getRowNode("group:" + key);
      if (node) rowNodes.push(node);
    }
    if (!rowNodes.length) return;
    grid.refreshCells({ rowNodes, force: true });
    const button = document.getElementById("groups-fold");
    const words = allFolded() ? "Unfold all" : "Fold all";
    if (button && button.textContent !== words) clientside.set_props("groups-fold", { children: words });
  }

  function fold(grid, keys, closed) {
    const asked = parameters();
    const folded = new Set(asked.getAll("folded"));
    keys.forEach((key) => (closed ? folded.add(key) : folded.delete(key)));
    asked.delete("folded");
    folded.forEach((key) => asked.append("folded", key));
    clientside.runs.keep(asked);
    grid.refreshClientSideRowModel("sort");
  }

  const isFolded = (key) => parameters().getAll("folded").includes(key);

  function allFolded() {
    const folded = new Set(parameters().getAll("folded"));
    return [...members.keys()].every((key) => folded.has(key));
  }

  function rememberOrder(grid) {
    const order = grid.getColumnState().filter((column) => column.sort).sort((a, b) => a.sortIndex - b.sortIndex);
    const asked = parameters();
    asked.delete("sort");
    order.forEach((column) => asked.append("sort", (column.sort === "desc" ? "-" : "") + column.colId));
    clientside.runs.keep(asked);
  }

  const followed = new WeakSet();
  function follow(grid) {
    if (followed.has(grid)) return;
    followed.add(grid);
    grid.addEventListener("rowDataUpdated", () => addHeads(grid));
    grid.addEventListener("modelUpdated", () => showNumbers(grid));
    grid.addEventListener("selectionChanged", () => showNumbers(grid));
    grid.addEventListener("sortChanged", () => rememberOrder(grid));
    grid.addEventListener("cellKeyDown", ({ data, event }) => {
      if (!isGroup(data) || (event.key !== "Enter" && event.key !== " ")) return;
      event.preventDefault();
      fold(grid, [data.group_of], !isFolded(data.group_of));
    });
  }

  clientside.groups = {
    // Control → address and grid. Settings can be grouped by while they are a column.
    async choose(by, columns, options) {
      const grid = await window.dash_ag_grid.getApiAsync("runs-grid");
      const settings = (columns || []).filter((key) => key.startsWith("config:"));
      const data = [
        ...options.filter((option) => !option.value.startsWith("config:")),
        ...settings.map((key) => ({ value: key, label: key.slice("config:".length) })),
      ];
      if (by && by.startsWith("config:") && !settings.includes(by)) {
        clientside.set_props("runs-by", { value: null });
        by = null;
      }
      const asked = parameters();
      if ((asked.get("by") || null) !== (by || null)) {
        asked.delete("folded");
        by ? asked.set("by", by) : asked.delete("by");
        clientside.runs.keep(asked);
      }
      follow(grid);
      arrange(grid);
      return [data, !by];
    },
  };

  document.addEventListener("click", async (event) => {
    if (!event.target.closest || !event.target.closest("#groups-fold")) return;
    const grid = await window.dash_ag_grid.getApiAsync("runs-grid");
    fold(grid, [...members.keys()], !allFolded());
  });

  // ---- What stands in the row of a group ----

  function label(key, by) {
    if (by.startsWith("config:")) return by.slice("config:".length) + " = " + (key || "–");
    return key === "" ? nothing[by] || "–" : by === "framework" ? frameworks[key] || key : key;
  }

  const median = (sorted) => {
    const middle = sorted.length >> 1;
    return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  };

  function title(props, group) {
    const key = props.data.group_of;
    const name = label(key, parameters().get("by") || "");
    const open = !isFolded(key);
    const running = group.filter((node) => node.data.state === "running").length;
    const ticked = group.length > 0 && group.every((node) => node.isSelected());
    return element(
      "div",
      { className: "group-title" },
      element(
        "button",
        { type: "button", tabIndex: -1, "aria-expanded": open, title: name, onClick: () => fold(props.api, [key], open) },
        element("span", { className: "group-mark" + (open ? " open" : ""), "aria-hidden": true }),
        element("span", { className: "group-name" }, name)
      ),
      element("span", { className: "soft" }, runs(group.length) + (running ? `, ${running} running` : "")),
      element(
        "button",
        {
          type: "button", tabIndex: -1, className: "group-tick",
          "aria-label": (ticked ? "Untick all runs of " : "Tick all runs of ") + name,
          onClick: () => props.api.setNodesSelected({ nodes: group, newValue: !ticked }),
        },
        ticked ? "Untick" : "Tick"
      )
    );
  }

  function bestAndMedian(props, group, better) {
    const column = props.column.getColDef();
    const values = group.map((node) => node.data[column.field]).filter((value) => typeof value === "number" && isFinite(value)).sort((a, b) => a - b);
    if (!values.length) return null;
    const written = (value) => (typeof column.valueFormatter === "function" ? column.valueFormatter({ ...props, value }) : String(value));
    return element(
      "div",
      { className: "group-numbers", title: `${values.length} of ${runs(group.length)} have a number here` },
      element("b", null, written(better === "max" ? values[values.length - 1] : values[0])),
      element("span", { className: "soft" }, written(median(values)))
    );
  }

  // What all runs of a group share is said; where they differ, how many values there are.
  function shared(group, column) {
    const words = (value) => (Array.isArray(value) ? value.join(" · ") : value === null || value === undefined ? "" : String(value));
    const values = [...new Set(group.map((node) => words(node.data[column.field])))];
    if (values.length !== 1) return element("span", { className: "soft" }, values.length + " values");
    return column.field === "framework" ? frameworks[values[0]] || values[0] : values[0];
  }

  cells.Group = (props) => {
    const group = members.get(props.data.group_of) || [];
    const column = props.column.getColDef();
    if (column.field === "state") return title(props, group);
    const better = column.cellRendererParams && column.cellRendererParams.best;
    if (better) return bestAndMedian(props, group, better);
    if (column.field === "progress")
      return element("div", { className: "group-numbers soft" }, element("b", null, "best"), element("span", null, "median"));
    return ["name", "started", "tags"].includes(column.field) || !group.length ? null : shared(group, column);
  };
})();
