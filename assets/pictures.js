// The column of pictures in the table of examples: a press or Enter on a cell chooses one, it is
// dropped or pasted there, exchanged and removed. Runs once, before the page is drawn.
(() => {
  const CELL = "#teach-table [role=gridcell][data-col='2']";
  const menu = () => document.querySelector("#picture-menu");
  const isPicture = (file) =>
    /^image\//.test(file.type) || /\.(jpe?g|png|webp|gif|heic|avif)$/i.test(file.name);
  let row = 0; // that pictures are chosen for

  // Filled by hand, as a person would: Gradio then knows what stands in its fields.
  const fill = (field, text, button) => {
    field.value = text;
    field.dispatchEvent(new Event("input", { bubbles: true }));
    setTimeout(() => document.querySelector(button).click(), 50);
  };
  const tell = (what, said) => {
    const field = document.querySelector(`#pictures-${what} textarea`);
    fill(field, JSON.stringify({ ...said, at: Date.now() }), `#use-pictures-${what}`);
  };

  const send = async (file) => {
    const { root, api_prefix: prefix } = window.gradio_config;
    const body = new FormData();
    body.append("files", file);
    const answer = await fetch(`${root}${prefix}/upload`, { method: "POST", body });
    if (!answer.ok) throw new Error(answer.statusText);
    return (await answer.json())[0];
  };

  const add = async (first, files) => {
    if (!files.length) return;
    const cell = document.querySelector(`${CELL}[data-row="${first}"]`);
    cell?.setAttribute("aria-busy", "true");
    const sent = [];
    for (const file of files) {
      const path = await send(file).catch(() => "");
      if (path) sent.push({ path, name: file.name });
    }
    cell?.removeAttribute("aria-busy");
    tell("sent", {
      row: first,
      paths: sent.map(({ path }) => path),
      names: sent.map(({ name }) => name),
      missing: files.length - sent.length,
    });
  };

  const chooser = document.createElement("input");
  chooser.type = "file";
  chooser.multiple = true;
  chooser.accept = "image/jpeg,image/png,image/webp,image/gif";
  chooser.addEventListener("change", () => {
    add(row, [...chooser.files]);
    chooser.value = "";
  });

  const open = (cell) => {
    row = Number(cell.dataset.row);
    if (!cell.querySelector("img")) return chooser.click();
    const { left, bottom } = cell.getBoundingClientRect();
    menu().showModal();
    const { offsetWidth: width, offsetHeight: height } = menu();
    menu().style.left = `${Math.max(8, Math.min(left, innerWidth - width - 8))}px`;
    menu().style.top = `${Math.max(8, Math.min(bottom, innerHeight - height - 8))}px`;
  };

  const only = (event) => {
    event.preventDefault();
    event.stopPropagation();
  };
  // Gradio must not hear of it: a press outside of the table would end the choice of the cell.
  document.addEventListener(
    "click",
    (event) => {
      if (!menu()?.contains(event.target)) return;
      only(event);
      const act = event.target.closest("button")?.dataset.do;
      if (act || event.target === menu()) menu().close();
      if (act === "other") chooser.click();
      if (act === "remove") tell("put", { row, cells: [""] });
    },
    true,
  );
  document.addEventListener("click", (event) => {
    const cell = event.target.closest?.(CELL);
    if (!cell || event.target.closest("button")) return;
    if (!(event.shiftKey || event.ctrlKey || event.metaKey)) open(cell);
  });

  // Nothing is typed into these cells, so Gradio must not open them.
  document.addEventListener("dblclick", (e) => e.target.closest?.(CELL) && only(e), true);
  document.addEventListener(
    "keydown",
    (event) => {
      const cell = event.target.matches?.(CELL) ? event.target : null;
      if (!cell || event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key.length !== 1 && !["Enter", "F2"].includes(event.key)) return;
      only(event);
      if (["Enter", "F2", " "].includes(event.key)) open(cell);
    },
    true,
  );
  const name = (event) => {
    const cell = event.target.closest?.(CELL);
    if (cell) cell.title = cell.querySelector("img")?.alt ?? menu()?.dataset.add ?? "";
  };
  for (const kind of ["focusin", "pointerover"]) document.addEventListener(kind, name);

  // Pictures go into the row that they are dropped on, and into those below it that have none; a
  // sheet is spread over the rows, as one that is pasted.
  document.addEventListener(
    "drop",
    (event) => {
      const files = [...(event.dataTransfer?.files ?? [])];
      if (!files.length || !event.target.closest?.("#teach-table")) return;
      only(event);
      event.target.dispatchEvent(new DragEvent("dragleave", { bubbles: true }));
      add(Number(event.target.closest("[data-row]")?.dataset.row ?? -1), files.filter(isPicture));
      const sheet = files.find((file) => !isPicture(file));
      const field = document.querySelector("#table-paste textarea");
      sheet?.text().then((text) => fill(field, text, "#use-table-paste"));
    },
    true,
  );
  document.addEventListener(
    "paste",
    (event) => {
      const cell = event.target.closest?.(CELL);
      const files = [...(event.clipboardData?.files ?? [])].filter(isPicture);
      if (!cell || !files.length) return;
      only(event);
      add(Number(cell.dataset.row), files);
    },
    true,
  );
})();
