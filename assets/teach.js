// The tab "Teach", where Gradio's table and its field for files fall short. Runs once, before the
// page is drawn.
(() => {
  const put = (field, text) => {
    field.value = text;
    field.dispatchEvent(new Event("input", { bubbles: true }));
  };

  const TEXT = "[role=gridcell]:not([data-col='2'])"; // the others are those of pictures.js

  // A press on a cell opens it: what is typed, through an input method too, goes into it.
  document.addEventListener("click", (event) => {
    const cell = event.target.closest?.(`#teach-table ${TEXT}`);
    if (!cell || event.target.closest("button, textarea") || event.shiftKey) return;
    if (event.ctrlKey || event.metaKey) return;
    cell.dispatchEvent(new MouseEvent("dblclick", { bubbles: true }));
  });

  // Letters typed on a cell that is only selected: Gradio opens the cell and loses those that come
  // before it is open. They are kept here, and put first; so is the key that ends them.
  let early = "";
  let ending = "";
  document.addEventListener(
    "keydown",
    (event) => {
      const cell = event.target.closest?.(`#teach-table ${TEXT}`);
      const letter = event.key.length === 1 && !event.ctrlKey && !event.metaKey && !event.altKey;
      if (!cell || event.isComposing || event.target.matches("textarea, input")) return;
      if (!letter && !(early && ["Enter", "Tab", "Escape"].includes(event.key))) return;
      event.preventDefault();
      if (ending) return event.stopPropagation();
      if (letter) early += event.key;
      else ending = event.key;
      if (early.length > 1 || ending) return event.stopPropagation();
      const { row, col } = cell.dataset;
      const open = () => {
        const own = `#teach-table [data-row="${row}"][data-col="${col}"] textarea`;
        const field = document.querySelector(own);
        if (!field) return requestAnimationFrame(open);
        const key = ending;
        put(field, early + field.value);
        field.setSelectionRange(early.length, early.length);
        early = ending = "";
        const end = new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true });
        if (key) requestAnimationFrame(() => field.dispatchEvent(end));
      };
      requestAnimationFrame(open);
    },
    true,
  );

  // Cells that are pasted into the table of examples are spread over its rows.
  document.addEventListener(
    "paste",
    (event) => {
      const text = event.clipboardData?.getData("text/plain").replace(/\s+$/, "") ?? "";
      if (!event.target.closest?.("#teach-table") || !/[\t\n]/.test(text)) return;
      const field = document.querySelector("#table-paste textarea");
      if (!field) return;
      event.preventDefault();
      event.stopPropagation();
      put(field, text);
      setTimeout(() => document.querySelector("#use-table-paste").click(), 50);
    },
    true,
  );

  // "Teach again": rows that are still wrong go into the table, to be taught on top of what is there.
  const when = (selector, act) => {
    const look = setInterval(() => {
      const element = document.querySelector(selector);
      if (!element) return;
      clearInterval(look);
      act(element);
    }, 50);
  };
  document.addEventListener("click", (event) => {
    const again = event.target.closest?.("#result .again");
    if (!again) return;
    const rows = again.dataset.all
      ? [...document.querySelectorAll("#result [data-reply]")]
      : [again.closest("[data-reply]")];
    // Each as it was taught, and once more with room for the question in other words.
    const lines = rows.flatMap(({ dataset: { question, reply } }) =>
      [question, ""].map((asked) => JSON.stringify({ question: asked, answer: reply })),
    );
    const more = document.querySelector("#teach-more");
    if (more?.offsetParent) more.click();
    [...document.querySelectorAll("#sources [role=tab]")].at(-1).click();
    when("#table-paste textarea", (field) => {
      put(field, lines.join("\n"));
      setTimeout(() => document.querySelector("#use-table-paste").click(), 50);
      document.querySelector("#step-data").scrollIntoView({ behavior: "smooth", block: "start" });
    });
  });

  // "Copy" beside an example of a format.
  document.addEventListener("click", (event) => {
    if (!event.target.matches(".formats .copy")) return;
    navigator.clipboard?.writeText(event.target.parentElement.querySelector("pre").textContent);
  });

  // A file that is too large is not even sent; the hint below the field knows the limits.
  const tooLarge = (files) => {
    const limits = document.querySelector("#file-limits").dataset;
    return [...(files ?? [])].some(
      (file) => file.size > Number(/\.zip$/i.test(file.name) ? limits.zip : limits.table),
    );
  };
  for (const [name, files] of [
    ["change", (event) => event.target.files],
    ["drop", (event) => event.dataTransfer?.files],
  ]) {
    const look = (event) => {
      if (!event.target.closest?.("#teach-file") || !tooLarge(files(event))) return;
      event.preventDefault();
      event.stopImmediatePropagation();
      if (name === "change") event.target.value = "";
      document.querySelector("#file-too-large").click();
    };
    document.addEventListener(name, look, true);
  }

  // How the newest training stands, beside the tab's name; its end is said until the tab is opened.
  let watched = null;
  const badge = () => {
    const tab = document.querySelector("#teach-tab-button");
    const line = document.querySelector("#teach-badge");
    if (!tab || !line) return;
    if (watched !== line) {
      watched = line;
      new MutationObserver(badge).observe(line, { childList: true, subtree: true });
      new MutationObserver(badge).observe(tab, { attributeFilter: ["aria-selected"] });
    }
    const { run, kind, short } = line.querySelector("[data-run]")?.dataset ?? {};
    const over = kind !== "moving";
    if (run && over && tab.ariaSelected === "true") localStorage.setItem("studio-seen-run", run);
    const shown = run && !(over && localStorage.getItem("studio-seen-run") === run);
    if (!shown) {
      for (const name of ["data-badge", "data-kind", "title"]) tab.removeAttribute(name);
      return;
    }
    tab.dataset.badge = short || { moving: "…", done: "✓", stopped: "■" }[kind] || "!";
    tab.dataset.kind = kind;
    tab.title = line.textContent;
  };
  const found = setInterval(() => {
    badge();
    if (watched) clearInterval(found);
  }, 100);

  // A training is looked at only while somebody sees it.
  document.addEventListener("visibilitychange", () => {
    if (!document.querySelector("#teach")?.offsetParent) return;
    document.querySelector(document.hidden ? "#teach-rest" : "#teach-look")?.click();
  });
})();
