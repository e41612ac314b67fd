// Where things stand beside one another: what CSS alone cannot know. Runs once, before the page is
// drawn.
(() => {
  // The tabs lie on the header's line, beside a title whose width is the font's and the language's.
  const sizes = new ResizeObserver(() => {
    const brand = document.querySelector("#brand");
    const tabs = document.querySelector("#tabs > .tab-wrapper");
    if (!brand || !tabs) return;
    const { style } = document.documentElement;
    style.setProperty("--tabs-left", `${Math.ceil(brand.getBoundingClientRect().right)}px`);
    style.setProperty("--tabs-width", `${Math.ceil(tabs.getBoundingClientRect().width)}px`);
  });
  const wait = setInterval(() => {
    const seen = ["#brand", "#tabs > .tab-wrapper", "#header"].map((name) =>
      document.querySelector(name),
    );
    if (!seen.every(Boolean) || !settings() || !row()) return;
    clearInterval(wait);
    seen.forEach((element) => sizes.observe(element));
    observe();
  }, 50);

  // Settings and the list of chats stand beside the conversation. Where there is no room for that
  // they lie over it, and then nothing below them takes a click or the focus.
  const REGIONS = "#header, #tabs > .tab-wrapper, #chat, #chats, #settings";
  const narrow = matchMedia("(max-width: 1080px)");
  const settings = () => document.querySelector("#settings");
  const row = () => document.querySelector("#chat-row");
  const cover = () => {
    const open = settings().classList.contains("open") && "settings";
    const over = narrow.matches && (open || (row().dataset.over === "open" && "chats"));
    for (const element of document.querySelectorAll(REGIONS)) {
      element.inert = Boolean(over) && element.id !== over;
    }
    document.body.classList.toggle("covered", Boolean(over));
  };
  const close = () => {
    row().dataset.over = "";
    if (settings().classList.contains("open")) settings().querySelector(".toggle-button").click();
  };
  const observe = () => {
    new MutationObserver(cover).observe(settings(), { attributeFilter: ["class"] });
    new MutationObserver(cover).observe(row(), { attributeFilter: ["data-over"] });
    narrow.addEventListener("change", cover);
    cover();
  };
  const covered = () => document.body.classList.contains("covered");
  document.addEventListener("click", (event) => {
    const { target } = event;
    if (target.closest("#chats-toggle")) {
      const { dataset } = row();
      const [field, value] = narrow.matches ? ["over", "open"] : ["list", "closed"];
      dataset[field] = dataset[field] === value ? "" : value;
      if (field === "list") localStorage.setItem("studio-chats", dataset.list);
      if ((dataset[field] === "open") === narrow.matches) {
        document.querySelector("#new-chat").focus();
      }
    } else if (covered() && (!target.closest(REGIONS) || target.closest("#new-chat, .open"))) {
      close(); // what is pressed beside the panel has no target of its own, being inert
    }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !event.closesList && covered()) close();
  });
  if (localStorage.getItem("studio-chats") === "closed") {
    const hide = setInterval(() => {
      if (!row()) return;
      row().dataset.list = "closed";
      clearInterval(hide);
    }, 20);
  }
})();
