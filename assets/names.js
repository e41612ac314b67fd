// What the page calls things, for whoever hears it. Runs once, before the page is drawn.
(() => {
  const chinese = /\/zh\/?$/.test(location.pathname);
  document.documentElement.lang = chinese ? "zh-Hans" : "en";

  // Two languages: English at the root, Chinese below /zh. Chosen once, else by the browser.
  const inOther = () => {
    const root = location.pathname.replace(/zh\/?$/, "").replace(/\/?$/, "/");
    return `${chinese ? root : `${root}zh`}${location.search}${location.hash}`;
  };
  const { asked = "" } = document.documentElement.dataset; // demo/ui/preview.py: the browser's
  const wanted = localStorage.getItem("studio-language") ?? asked.slice(0, 2);
  if (!chinese && wanted === "zh") location.replace(inOther());
  document.addEventListener("click", (event) => {
    if (!event.target.closest("#language")) return;
    localStorage.setItem("studio-language", chinese ? "en" : "zh");
    location.assign(inOther());
  });

  // What Gradio says in English alone: whole, or with a gap at its end.
  const words = () => document.querySelector("#links nav")?.dataset;
  let read = null; // once they are on the page
  const names = () => {
    if (!read && words()) read = new Map(JSON.parse(words().names));
    return read ?? new Map();
  };
  const said = (known, name) => {
    if (known.has(name)) return known.get(name);
    for (const [start, other] of known) {
      if (start.endsWith("{}") && name.startsWith(start.slice(0, -2))) {
        const rest = name.slice(start.length - 2);
        return other.replace("{}", known.get(rest) ?? rest);
      }
    }
    return name;
  };
  const translate = () => {
    const known = names();
    if (!known.size) return;
    for (const attribute of ["aria-label", "title", "alt"]) {
      for (const element of document.querySelectorAll(`.gradio-container [${attribute}]`)) {
        const name = element.getAttribute(attribute);
        const other = said(known, name);
        if (other !== name) element.setAttribute(attribute, other);
      }
    }
  };

  // Names and roles that Gradio gives wrongly.
  const mend = () => {
    document.querySelector("#conversation .examples[role=list]")?.removeAttribute("role");
    for (const card of document.querySelectorAll("#conversation .example[aria-label]")) {
      card.setAttribute("aria-label", card.textContent.trim());
    }
    for (const button of document.querySelectorAll("#conversation .image-container > button")) {
      button.setAttribute("aria-label", words()?.picture ?? "");
    }
    for (const told of document.querySelectorAll("[data-testid=toast-text]")) {
      const refused = told.textContent.match(/^Invalid file type: (.*)\. Only (.*) allowed/s);
      if (!refused || !words()) continue;
      const [, file, kinds] = refused;
      const text = kinds === "image, video" ? words().media : words().kind;
      told.textContent = text.replace("{name}", () => file).replace("{kinds}", () => kinds);
      told.closest("[data-testid=toast-body]").querySelector(".toast-title").textContent = "";
    }
    translate();
  };
  let mending = 0;
  new MutationObserver(() => {
    cancelAnimationFrame(mending);
    mending = requestAnimationFrame(mend);
  }).observe(document.documentElement, { childList: true, subtree: true });
})();
