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
    if (event.target.closest("#api")) document.querySelector("footer .show-api")?.click();
  });

  // Escape stops the running reply.
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") document.querySelector("#box .stop-button")?.click();
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

  // "Copy" beside an example of a format.
  document.addEventListener("click", (event) => {
    if (!event.target.matches(".formats .copy")) return;
    navigator.clipboard?.writeText(event.target.parentElement.querySelector("pre").textContent);
  });

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
      field.value = text;
      field.dispatchEvent(new Event("input", { bubbles: true }));
      setTimeout(() => document.querySelector("#use-table-paste").click(), 50);
    },
    true,
  );

  // A file that is too large for the tab "Teach" is not even sent.
  const tooLarge = (files) =>
    [...(files ?? [])].some((file) => file.size > (/\.zip$/i.test(file.name) ? 200e6 : 20e6));
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

  // A training is looked at only while somebody sees it.
  document.addEventListener("visibilitychange", () => {
    if (!document.querySelector("#teach")?.offsetParent) return;
    document.querySelector(document.hidden ? "#teach-rest" : "#teach-look")?.click();
  });

  // The invisible guards of demo/ui/markup.py stay out of what is copied.
  const bare = (text) => text.replace(/<\u2060/g, "<").replace(/!\u2060\[/g, "![");
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
  document.addEventListener("dragover", (event) => {
    if (files(event.dataTransfer) && outside(event)) event.preventDefault();
  });
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
