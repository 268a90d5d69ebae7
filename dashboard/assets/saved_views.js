// The menu of saved views: says what somebody asks for, and opens a view on the page that is already there.
(function () {
  const clientside = (window.dash_clientside = window.dash_clientside || {});
  const dialog = () => document.getElementById("view-dialog");
  const onRuns = (path) => /^\/(runs\/?)?$/.test(path);
  let naming = null; // what the dialog's name is for

  const set = (id, properties) => clientside.set_props(id, properties);
  const ask = (asked) => set("view-asked", { data: { ...asked, at: Date.now() } });

  function open(what, title, hint, name) {
    naming = what;
    set("view-title", { children: title });
    set("view-hint", { children: hint });
    set("view-error", { children: "" });
    set("view-name", { value: name });
    dialog().showModal();
    const field = document.getElementById("view-name");
    field.focus();
    setTimeout(() => field.select()); // once the name stands in it
  }

  const actions = {
    save: () =>
      open(
        { action: "save", address: location.pathname + location.search },
        "Save this view",
        onRuns(location.pathname) ? "Keeps filters, sorting, columns and groups as they are now." : "Keeps the runs and how their curves are drawn now.",
        ""
      ),
    rename: ({ id, name }) => open({ action: "rename", view: Number(id) }, "Rename view", "", name),
    remove: ({ id }) => ask({ action: "remove", view: Number(id) }),
    undo: ({ name, address }) => ask({ action: "save", name, address }),
    cancel: () => dialog().close(),
    confirm: () => naming && ask({ ...naming, name: document.getElementById("view-name").value }),
  };

  clientside.views = {
    // The store took the name.
    done() {
      if (dialog().open) {
        dialog().close();
        document.querySelector("details.views").open = true; // there it stands
      }
      return clientside.no_update;
    },
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest && event.target.closest("button[data-view]");
    if (button) return actions[button.dataset.view](button.dataset);
    if (event.target === dialog()) dialog().close(); // the backdrop
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.target.id === "view-name" && !event.isComposing) actions.confirm();
  });

  // From one address of Runs to another. What was filtered meanwhile is in the address bar, and Dash has not heard of
  // it: an address that it believes to be there already would change nothing. So the page is asked for anew.
  document.addEventListener(
    "click",
    (event) => {
      const link = event.target.closest && event.target.closest("a[href]");
      if (!link || link.origin !== location.origin || !onRuns(link.pathname) || !onRuns(location.pathname)) return;
      if (link.hash || link.target || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
      event.preventDefault();
      event.stopPropagation();
      document.querySelectorAll("details.menu[open]").forEach((menu) => (menu.open = false));
      if (link.href !== location.href) history.pushState(null, "", link.href);
      set("page-key", { data: null });
      set("url", { pathname: link.pathname, search: link.search, href: link.href });
    },
    true
  );
})();
