// The open tab and the training that is shown are places with an address: #teach, #run/…, #library,
// #about, and none for the chat. Back and Forward go from one to the other, a reload stays.
// Runs once, before the page is drawn.
(() => {
  const PLACE = /^#(teach|library|about|run\/[\w-]{1,64})$/;
  const TAB = "#tabs > .tab-wrapper [role=tab]";
  const tabOf = (hash) => (PLACE.exec(hash)?.[1] ?? "chat").replace(/^run\/.*/, "teach");
  const nameOf = (tab) => tab.id.replace(/-tab.*/, "");
  const open = () => document.querySelector(`${TAB}[aria-selected=true]`);
  const run = () => document.querySelector("#live [data-run]")?.dataset.run ?? "";
  const wanted = () => /^#run\/(.+)/.exec(location.hash)?.[1] ?? history.state?.run ?? null;
  let teach = "#teach"; // the place in that tab where somebody was last

  const go = (hash, how = "pushState") => {
    const { pathname, search } = location;
    history[how]({ run: run() }, "", pathname + search + hash);
    if (tabOf(hash) === "teach") teach = hash;
  };
  const note = (what) => {
    if (!open() || nameOf(open()) !== "teach" || tabOf(location.hash) !== "teach") return;
    history.replaceState({ ...history.state, ...what }, "");
  };

  // Whoever opens a tab, a press or the server: the address follows, unless it led there.
  const follow = () => {
    const tab = open();
    if (!tab || nameOf(tab) === tabOf(location.hash)) return;
    const name = nameOf(tab);
    go({ chat: "", teach }[name] ?? `#${name}`);
  };

  // As far down as it was, once there is so much again.
  const scrollBack = (top) => {
    const until = performance.now() + 3000;
    const look = () => {
      const page = document.querySelector("#teach");
      if (!page || tabOf(location.hash) !== "teach") return;
      page.scrollTop = top;
      if (Math.abs(page.scrollTop - top) > 2 && performance.now() < until) setTimeout(look, 50);
    };
    look();
  };
  const show = () => {
    const name = tabOf(location.hash);
    const tab = [...document.querySelectorAll(TAB)].find((one) => nameOf(one) === name);
    const scroll = history.state?.scroll;
    const asked = wanted();
    const there = tab === open();
    if (name === "teach") {
      teach = location.hash;
      if (asked !== null && asked !== run()) {
        const field = document.querySelector("#run-asked :is(textarea, input)");
        field.value = asked || "none";
        field.dispatchEvent(new Event("input", { bubbles: true }));
        // Gradio sends what it has heard of: the tab's own event reads the field too.
        setTimeout(() => (there ? document.querySelector("#run-open") : tab).click(), 50);
      } else if (!there) tab.click();
      if (scroll !== undefined) scrollBack(scroll);
    } else if (!there) tab?.click();
  };

  // What the address names is opened: again, until Gradio has begun to listen. Whoever is faster
  // and presses a tab goes where they want to.
  let pressed = false;
  document.addEventListener("click", (event) => {
    pressed ||= event.isTrusted && Boolean(event.target.closest(TAB));
  });
  let settled = 0;
  const begin = setInterval(() => {
    if (!open() || !document.querySelector("#run-asked")) return;
    if (pressed || nameOf(open()) === tabOf(location.hash)) settled += 1;
    else {
      settled = 0;
      show();
    }
    if (settled < 3) return;
    clearInterval(begin);
    const watch = new MutationObserver(follow);
    for (const tab of document.querySelectorAll(TAB)) {
      watch.observe(tab, { attributeFilter: ["aria-selected"] });
    }
    follow();
    window.addEventListener("popstate", show);
  }, 200);

  let noting = 0;
  document.addEventListener(
    "scroll",
    (event) => {
      if (event.target.id !== "teach") return;
      clearTimeout(noting);
      noting = setTimeout(() => note({ scroll: event.target.scrollTop }), 150);
    },
    true,
  );

  // The server has answered, and what it says is about to be drawn: the tab was entered, a training
  // begun or chosen, or the one that was shown deleted.
  document.addEventListener("studio-run", ({ detail }) => {
    const until = performance.now() + 3000;
    const before = history.state?.run ?? "";
    const drawn = () => (detail === "entered" ? run() === (wanted() || run()) : run() !== before);
    const look = () => {
      if (nameOf(open()) !== "teach") {
        teach = run() ? `#run/${run()}` : "#teach"; // somebody has left: for their next visit
      } else if (!drawn() && performance.now() < until) {
        setTimeout(look, 50);
      } else if (detail === "entered") {
        if (/^#run/.test(location.hash) && wanted() !== run()) go("#teach", "replaceState");
        note({ run: run() });
      } else if (run() !== before) {
        go(run() ? `#run/${run()}` : "#teach", detail === "gone" ? "replaceState" : "pushState");
      }
    };
    setTimeout(look, 150);
  });
})();
