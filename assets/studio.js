// What Gradio leaves out. Runs once, before the page is drawn.
(() => {
  // Light and dark: the visitor's choice, else the system's.
  const stored = localStorage.getItem("studio-theme");
  const apply = (theme) => document.body.classList.toggle("dark", theme === "dark");
  document.addEventListener("click", (event) => {
    if (!event.target.closest("#theme")) return;
    const theme = document.body.classList.contains("dark") ? "light" : "dark";
    localStorage.setItem("studio-theme", theme);
    apply(theme);
  });
  if (stored) {
    // Gradio sets its own idea of the theme while it starts; ours comes after.
    const settle = setInterval(() => document.body && apply(stored), 50);
    setTimeout(() => clearInterval(settle), 3000);
  }

  // The header's link to the API page presses the one in Gradio's own footer, which is hidden.
  document.addEventListener("click", (event) => {
    if (event.target.closest("#api, [data-api]")) document.querySelector("footer .show-api")?.click();
  });

  // A list of choices closes when the focus leaves it. Gradio opens it anew a moment after any key:
  // so it does not hear of Tab, and is told to close what an earlier key has opened behind it.
  // Escape closes the list and does nothing else.
  document.addEventListener(
    "keydown",
    (event) => {
      if (!event.target.matches?.("input[role=combobox]")) return;
      if (event.key === "Tab") event.stopPropagation();
      event.closesList = event.key === "Escape" && event.target.ariaExpanded === "true";
    },
    true,
  );
  document.addEventListener("focusout", ({ target }) => {
    if (!target.matches?.("input[role=combobox]")) return;
    let looks = 10;
    const look = setInterval(() => {
      looks -= 1;
      if (!looks || document.activeElement === target) clearInterval(look);
      else if (target.ariaExpanded === "true") {
        target.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", bubbles: true }));
      }
    }, 100);
  });

  // Escape stops the running reply.
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.closesList) return;
    document.querySelector("#box .stop-button")?.click();
  });

  // "?" shows the keys; ArrowUp in an empty box gives the last question once more.
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, textarea, [contenteditable=true]");
    if (event.key === "?" && !typing) document.querySelector("#keys")?.showModal();
    if (event.key !== "ArrowUp" || !event.target.matches?.("#box textarea")) return;
    if (event.target.value) return;
    const asked = [...document.querySelectorAll("#conversation .user-row .message:not(.component)")];
    const last = asked.at(-1)?.innerText.replace(/\u2060(\u2060?)/g, "$1").trim();
    if (!last) return;
    event.preventDefault();
    event.target.value = last;
    event.target.dispatchEvent(new Event("input", { bubbles: true }));
  });

  // Ready to type, where that does not open a keyboard over half of the screen.
  if (matchMedia("(pointer: fine)").matches) {
    const look = setInterval(() => {
      const text = document.querySelector("#box textarea");
      if (!text) return;
      clearInterval(look);
      if (document.activeElement === document.body) text.focus();
    }, 100);
  }

  // A card of the library is pressed: the page is told which.
  document.addEventListener("click", (event) => {
    const card = event.target.closest?.(".adapter-card");
    const field = document.querySelector("#library-chosen :is(textarea, input)");
    if (!card || !field) return;
    field.value = card.dataset.adapter;
    field.dispatchEvent(new Event("input", { bubbles: true }));
    setTimeout(() => document.querySelector("#library-choose").click(), 50);
  });

  // Versions of a reply, and going on with one that was cut.
  document.addEventListener("click", (event) => {
    const step = event.target.closest("#conversation [data-step]");
    if (step) {
      const turn = Number(step.closest("[data-turn]").dataset.turn);
      const detail = { do: "version", turn, step: Number(step.dataset.step) };
      document.dispatchEvent(new CustomEvent("studio-act", { detail }));
    }
    for (const name of ["go-on", "ask-base"]) {
      if (event.target.closest(`#conversation .${name}`)) document.querySelector(`#${name}`)?.click();
    }
  });

  // The invisible guards of demo/ui/html.py stay out of what is copied.
  const bare = (text) => text.replace(/\u2060(\u2060?)/g, "$1");
  const write = navigator.clipboard?.writeText.bind(navigator.clipboard);
  if (write) navigator.clipboard.writeText = (text) => write(bare(text));
  document.addEventListener("copy", (event) => {
    const text = String(document.getSelection());
    if (!text.includes("\u2060")) return;
    event.clipboardData.setData("text/plain", bare(text));
    event.preventDefault();
  });

  // A picture or video dropped or pasted anywhere on the page goes to the message box.
  const box = () => document.querySelector("#box .full-container");
  const outside = (event) =>
    box()?.offsetParent && !box().contains(event.target); // none of it while teaching
  const files = (transfer) => transfer && [...transfer.items].some((item) => item.kind === "file");
  const marked = (on) => document.querySelector("#box")?.classList.toggle("droppable", on);
  document.addEventListener("dragover", (event) => {
    if (!files(event.dataTransfer) || !box()?.offsetParent) return;
    marked(true);
    if (outside(event)) event.preventDefault();
  });
  for (const end of ["drop", "dragend", "dragleave"]) {
    document.addEventListener(
      end,
      (event) => (end !== "dragleave" || !event.relatedTarget) && marked(false),
      true,
    );
  }
  document.addEventListener("drop", (event) => {
    if (!event.dataTransfer?.files.length || !outside(event)) return;
    event.preventDefault();
    const { dataTransfer } = event;
    box().dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: false, cancelable: true }));
  });
  document.addEventListener("paste", (event) => {
    if (!files(event.clipboardData) || !outside(event)) return;
    const { clipboardData } = event;
    const paste = new ClipboardEvent("paste", { clipboardData, cancelable: true });
    box().querySelector("textarea").dispatchEvent(paste);
  });
})();
