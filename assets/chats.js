// The list of chats: `element` holds it, `trigger` tells the server, `watch` hears of a new one.
const list = () => element.querySelector(".chat-list");
const asked = () => new URLSearchParams(location.search).get("chat") ?? "";
const act = (what) => trigger("select", what);
let current = null;

const goTo = (chat, push) => {
  const url = new URL(location.href);
  if (chat) url.searchParams.set("chat", chat);
  else url.searchParams.delete("chat");
  if (url.href === location.href) return;
  // Behind another tab nobody sees it: that place stays one.
  if (push && !location.hash) history.pushState(null, "", url);
  else history.replaceState(history.state, "", url);
};

// A chat has an address once something was said in it.
const look = () => {
  const shown = list()?.dataset;
  if (!shown) return;
  const push = current !== null && current !== shown.current;
  current = shown.current;
  goTo(shown.begun && current, push);
  const when = new Intl.DateTimeFormat(document.documentElement.lang || undefined, {
    dateStyle: "medium",
  });
  for (const time of element.querySelectorAll("time")) {
    time.textContent = when.format(new Date(1000 * Number(time.dateTime)));
  }
};
watch("value", look);
look();

// From the first word on, not only when the reply has ended.
new MutationObserver(() => {
  const shown = list()?.dataset;
  if (!shown?.current || shown.begun || asked()) return;
  if (!document.querySelector("#conversation .user-row")) return;
  shown.begun = "1";
  goTo(shown.current, false);
}).observe(document.querySelector("#conversation") ?? document.body, {
  childList: true,
  subtree: true,
});

window.addEventListener("popstate", () => {
  const chat = asked();
  if (chat !== (list()?.dataset.begun ? current : "")) act({ do: chat ? "open" : "new", chat });
});

// A chat as a file, or in the clipboard.
document.addEventListener("studio-save", ({ detail }) => {
  if (!detail) return;
  const { as, title, text } = JSON.parse(detail);
  if (as === "copy") {
    // Not through studio.js, which takes its guards out of what the page copies: here is none.
    navigator.clipboard?.write([new ClipboardItem({ "text/plain": new Blob([text], { type: "text/plain" }) })]);
    const button = element.querySelector("[data-as=copy]");
    button?.classList.add("done");
    setTimeout(() => button?.classList.remove("done"), 1500);
    return;
  }
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text]));
  link.download = `${title.replace(/[^\p{L}\p{N} -]+/gu, "").trim().slice(0, 60) || "chat"}.${as}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
});

// assets/studio.js asks for what is pressed in the conversation.
document.addEventListener("studio-act", (event) => act(event.detail));

element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-do]");
  if (!button) return;
  const row = button.closest("[data-chat]");
  const chat = row?.dataset.chat ?? "";
  const { do: what } = button.dataset;
  if (what === "ask" || what === "keep") {
    row.classList.toggle("asking", what === "ask");
    row.querySelector(what === "ask" ? ".sure button" : "[data-do=ask]")?.focus();
  } else if (what === "name") {
    rename(row, chat);
  } else {
    act({ do: what, chat, as: button.dataset.as });
  }
});

function rename(row, chat) {
  const title = row.querySelector(".title");
  const field = document.createElement("input");
  field.value = title.textContent;
  field.maxLength = 80;
  field.setAttribute("aria-label", row.querySelector("[data-do=name]").title);
  row.classList.add("naming");
  row.prepend(field);
  field.select();
  let over = false;
  const end = (save) => {
    if (over) return;
    over = true;
    field.remove();
    row.classList.remove("naming");
    if (save && field.value !== title.textContent) act({ do: "rename", chat, title: field.value });
  };
  field.addEventListener("keydown", (event) => {
    if (event.key === "Escape") event.stopPropagation();
    if (event.key === "Enter" || event.key === "Escape") end(event.key === "Enter");
  });
  field.addEventListener("blur", () => end(true));
}
