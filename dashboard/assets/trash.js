// The trash of the Runs page: what the buttons say of the ticked runs, and the question before runs are removed.
(function () {
  const clientside = (window.dash_clientside = window.dash_clientside || {});
  const MOST_NAMES = 5;
  const dialog = () => document.getElementById("purge-dialog");
  const idsOf = (rows) => (Array.isArray(rows) ? rows.map((row) => row.id) : (rows && rows.ids) || []);
  const runs = (count) => count.toLocaleString("en") + (count === 1 ? " run" : " runs");

  clientside.trash = {
    throwable(rows) {
      const ids = idsOf(rows);
      return [ids, ids.length ? `Move ${runs(ids.length)} to the trash` : "Move to the trash", !ids.length];
    },

    chosen(rows) {
      const ids = idsOf(rows);
      return [ids, !ids.length, !ids.length];
    },

    async search(text) {
      const api = await window.dash_ag_grid.getApiAsync("trash-grid");
      api.setGridOption("quickFilterText", text || "");
      return text;
    },

    // Asks. What the dialog names is what will be removed, whatever is ticked behind it.
    confirm(clicks, rows) {
      if (!clicks || !Array.isArray(rows) || !rows.length) return clientside.no_update;
      const training = rows.filter((row) => row.state === "running");
      const gone = rows.filter((row) => row.state !== "running");
      const names = gone.slice(0, MOST_NAMES).map((row) => row.name).join(", ");
      const set = (id, properties) => clientside.set_props(id, properties);
      set("purge-title", { children: gone.length ? `Remove ${runs(gone.length)} for good?` : "Nothing can be removed" });
      set("purge-names", { children: names + (gone.length > MOST_NAMES ? ` and ${gone.length - MOST_NAMES} more` : "") });
      set("purge-training", { children: training.length ? `${runs(training.length)} still training, which cannot be removed: stop the training first, then purge.` : "" });
      set("purge-confirm", { children: `Remove ${runs(gone.length)}`, disabled: !gone.length });
      dialog().showModal();
      return gone.map((row) => row.id);
    },
  };

  document.addEventListener("click", (event) => {
    if (!event.target.closest || !dialog()) return;
    const button = event.target.closest("#purge-dialog button");
    if (button && button.id === "purge-confirm") clientside.set_props("trash-said", { children: "Removing …" });
    if (button || event.target === dialog()) dialog().close();
  });
})();
