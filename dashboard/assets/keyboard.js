// Keys of the Runs and Compare pages, and the dialog that lists them. None of them works while someone types.
(function () {
  const onRuns = () => /^\/(runs\/?)?$/.test(location.pathname);
  const onCompare = () => location.pathname.replace(/\/$/, "") === "/compare";
  const SMOOTHED = 0.6; // what `s` turns on where nothing was smoothed before
  let smoothing = SMOOTHED;

  function search() {
    const field = onRuns() ? document.querySelector("#runs-search, #trash-search") : document.getElementById("find");
    if (field) field.focus(), field.select();
    return field !== null;
  }

  // From the panel that has the focus, or from the first one that can be seen.
  function go(direction) {
    const panels = [...document.querySelectorAll("section.panel")].filter((panel) => panel.offsetParent);
    const here = panels.indexOf(document.activeElement && document.activeElement.closest("section.panel"));
    const seen = panels.findIndex((panel) => panel.getBoundingClientRect().bottom > innerHeight / 4);
    const next = here < 0 ? panels[Math.max(seen, 0)] : panels[here + direction];
    if (!next) return panels.length > 0;
    next.focus({ preventScroll: true });
    next.scrollIntoView({ block: "center" });
    return true;
  }

  function toggleSmoothing() {
    const now = Number(new URLSearchParams(location.search).get("smoothing") || 0);
    if (now) smoothing = now;
    window.dash_clientside.set_props("smoothing", { value: now ? 0 : smoothing });
    return true;
  }

  function help() {
    document.getElementById("keys-help").showModal();
    return true;
  }

  const keys = {
    "/": () => (onRuns() || onCompare()) && search(),
    j: () => onCompare() && go(1),
    k: () => onCompare() && go(-1),
    s: () => onCompare() && document.getElementById("smoothing") !== null && toggleSmoothing(),
    "?": () => (onRuns() || onCompare()) && help(),
  };

  // A box that was ticked is an input, too, but nobody types into it.
  const types = (target) => target.isContentEditable || target.matches("textarea, select, input:not([type=checkbox], [type=radio], [type=button])");

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || !event.target.matches || types(event.target)) return;
    if (document.querySelector("dialog[open]")) return;
    if (Object.hasOwn(keys, event.key) && keys[event.key]()) event.preventDefault();
  });

  // A click on the backdrop is a click on the dialog itself: its content fills the rest.
  document.addEventListener("click", (event) => {
    if (event.target.closest("#keys-button")) return help();
    const dialog = event.target.closest("#keys-help");
    if (dialog && (event.target === dialog || event.target.closest("button"))) dialog.close();
  });
})();
