// Values of the curves of a training, read out under the pointer and by arrow keys, and the curves
// as files. `demo/charts.py` draws them; what is read is in `data-values`. The server draws them
// anew with each step, so what is marked is kept here and marked again. Runs once, before the page
// is drawn.
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const COLOURS = ["fill", "stroke", "stroke-width", "stroke-linejoin", "opacity", "display"];
  const FONT = ["font-size", "font-family", "font-weight", "text-anchor"];
  const charts = () => [...document.querySelectorAll("#live svg.chart[data-values]")];
  const valuesOf = (svg) => (svg.values ??= JSON.parse(svg.dataset.values));
  let marked = null; // { place: which chart, x, focused }

  const number = (value, percent) => {
    if (value === null) return "∞";
    if (percent) return `${Math.round(100 * value)} %`;
    return String(Number(value.toPrecision(3)));
  };
  const steps = (values) =>
    [...new Set(values.lines.flatMap(([, points]) => points.map(([x]) => x)))].sort((a, b) => a - b);
  const nearest = (list, x, of = (one) => one) =>
    list.reduce((best, one) => (Math.abs(of(one) - x) < Math.abs(of(best) - x) ? one : best), list[0]);
  // Each line's value there; one that was measured at another step says at which.
  const reading = (values, x) =>
    values.lines
      .filter(([, points]) => points.length)
      .map(([name, points]) => {
        const [at, value] = nearest(points, x, (point) => point[0]);
        return { name, value: number(value, values.percent), at: at === x ? "" : at };
      });

  const clear = () => {
    for (const old of document.querySelectorAll("#live .guide, #live .reading")) old.remove();
  };
  const draw = () => {
    const svg = marked && charts()[marked.place];
    clear();
    if (!svg) return;
    const values = valuesOf(svg);
    const all = steps(values);
    if (!all.length) return;
    const x = nearest(all, marked.x);
    const [left, right, top, bottom] = values.frame;
    const across = left + ((right - left) * x) / values.end;
    const guide = document.createElementNS(SVG, "line");
    const ends = { class: "guide", x1: across, x2: across, y1: top, y2: bottom };
    for (const [name, value] of Object.entries(ends)) guide.setAttribute(name, value);
    svg.append(guide);
    const found = reading(values, x);
    const box = document.createElement("div");
    box.className = "reading";
    const head = document.createElement("b");
    head.textContent = `${values.x} ${x}`;
    box.append(head);
    for (const { name, value, at } of found) {
      const line = document.createElement("span");
      line.textContent = `${name} ${value}${at === "" ? "" : ` (${values.x} ${at})`}`;
      box.append(line);
    }
    svg.parentElement.append(box);
    // Beside the line, where there is more room: neither what it reads nor the legend is covered.
    const room = svg.getBoundingClientRect();
    const { y, width } = svg.viewBox.baseVal;
    const scale = room.width / width;
    const place = scale * across;
    const beside = across < (left + right) / 2 ? place + 10 : place - 10 - box.offsetWidth;
    box.style.left = `${Math.min(Math.max(beside, 0), room.width - box.offsetWidth)}px`;
    const above = room.top - svg.parentElement.getBoundingClientRect().top;
    box.style.top = `${above + scale * (top - y)}px`;
    svg.setAttribute("aria-valuenow", x);
    svg.setAttribute("aria-valuetext", box.innerText.replace(/\s*\n\s*/g, ", "));
  };

  const chartAt = (event) => event.target.closest?.("#live figure")?.querySelector("svg.chart[data-values]");
  const overX = (svg, event) => {
    const { left, width } = svg.getBoundingClientRect();
    const [from, to] = valuesOf(svg).frame;
    const across = ((event.clientX - left) / width) * svg.viewBox.baseVal.width;
    return (valuesOf(svg).end * (across - from)) / (to - from);
  };
  for (const name of ["pointermove", "pointerdown"]) {
    document.addEventListener(name, (event) => {
      const svg = event.target.closest?.("svg.chart[data-values]");
      if (svg?.closest("#live")) {
        marked = { place: charts().indexOf(svg), x: overX(svg, event), focused: marked?.focused };
        draw();
      } else if (marked && !marked.focused && !chartAt(event)) {
        marked = null;
        clear();
      }
    });
  }

  document.addEventListener("focusin", (event) => {
    const place = charts().indexOf(event.target);
    if (place < 0) return;
    if (!event.target.matches(":focus-visible") && marked?.place === place) marked.focused = true;
    else if (!(marked?.place === place && marked.focused)) {
      marked = { place, x: steps(valuesOf(event.target)).at(-1) ?? 0, focused: true };
    }
    draw();
  });
  document.addEventListener("focusout", (event) => {
    const { target } = event;
    if (!marked?.focused || charts().indexOf(target) < 0) return;
    // A chart that is drawn anew loses the focus as well, and gets it back below.
    setTimeout(() => {
      if (!target.isConnected || charts().includes(document.activeElement)) return;
      marked = null;
      clear();
    });
  });
  const MOVES = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10 };
  document.addEventListener("keydown", (event) => {
    const svg = event.target.closest?.("#live svg.chart[data-values]");
    if (!svg) return;
    const all = steps(valuesOf(svg));
    const at = all.indexOf(nearest(all, marked?.x ?? all.at(-1)));
    const to = { Home: 0, End: all.length - 1 }[event.key] ?? at + (MOVES[event.key] ?? NaN);
    if (event.key === "Escape") clear();
    if (Number.isNaN(to) || !all.length) return;
    event.preventDefault();
    const x = all[Math.min(Math.max(to, 0), all.length - 1)];
    marked = { place: charts().indexOf(svg), x, focused: true };
    draw();
  });
  const wait = setInterval(() => {
    const live = document.querySelector("#live");
    if (!live) return;
    clearInterval(wait);
    new MutationObserver((changes) => {
      const ours = (node) => node.matches?.(".guide, .reading");
      const nodes = changes.flatMap((one) => [...one.addedNodes, ...one.removedNodes]);
      if (!marked || nodes.every(ours)) return;
      if (marked.focused && document.activeElement === document.body) {
        charts()[marked.place]?.focus({ preventScroll: true });
      }
      draw();
    }).observe(live, { childList: true, subtree: true });
  }, 100);

  // All curves in one picture, one below the other, in the colours of the page.
  const inked = (from, to) => {
    const style = getComputedStyle(from);
    for (const name of from.matches("text") ? [...COLOURS, ...FONT] : COLOURS) {
      to.style.setProperty(name, style.getPropertyValue(name));
    }
    [...from.children].forEach((child, place) => inked(child, to.children[place]));
  };
  const words = (text, x, y, like, anchor = "start") => {
    const element = document.createElementNS(SVG, "text");
    const style = getComputedStyle(like);
    element.textContent = text;
    for (const [name, value] of Object.entries({ x, y, "text-anchor": anchor })) {
      element.setAttribute(name, value);
    }
    for (const name of FONT.slice(0, 3)) element.style.setProperty(name, style.getPropertyValue(name));
    element.style.fill = style.color;
    return element;
  };
  const picture = () => {
    clear();
    const whole = document.createElementNS(SVG, "svg");
    whole.setAttribute("xmlns", SVG);
    const back = document.createElementNS(SVG, "rect");
    whole.append(back);
    let y = 16;
    let width = 0;
    for (const svg of charts()) {
      const { width: across, height } = svg.viewBox.baseVal;
      const head = svg.parentElement.querySelector("figcaption");
      whole.append(words(head.querySelector("b").textContent, 16, y + 12, head.querySelector("b")));
      const keys = [...head.querySelectorAll(".key")].map((key, place) => {
        const bar = document.createElementNS(SVG, "rect");
        const x = 130 + 100 * place;
        for (const [name, value] of Object.entries({ x, y: y + 6, width: 14, height: 3, rx: 1.5 })) {
          bar.setAttribute(name, value);
        }
        bar.style.fill = getComputedStyle(key, "::before").backgroundColor;
        return [bar, words(key.textContent, x + 19, y + 12, key)];
      });
      const now = head.querySelector(".now");
      whole.append(...keys.flat(), words(now.textContent, 16 + across, y + 12, now, "end"));
      const copy = svg.cloneNode(true);
      inked(svg, copy);
      for (const name of [...copy.attributes].map((one) => one.name)) {
        if (name !== "viewBox" && name !== "style") copy.removeAttribute(name);
      }
      for (const [name, value] of Object.entries({ x: 16, y: y + 20, width: across, height })) {
        copy.setAttribute(name, value);
      }
      copy.style.overflow = "visible";
      whole.append(copy);
      y += height + 44;
      width = Math.max(width, across + 32);
    }
    for (const element of [whole, back]) {
      element.setAttribute("width", width);
      element.setAttribute("height", y);
    }
    whole.setAttribute("viewBox", `0 0 ${width} ${y}`);
    back.style.fill = getComputedStyle(document.querySelector("#step-run")).backgroundColor;
    return { text: new XMLSerializer().serializeToString(whole), width, height: y };
  };
  const save = (blob, form) => {
    const link = document.createElement("a");
    const name = document.querySelector("#live .run-state strong").textContent;
    link.href = URL.createObjectURL(blob);
    link.download = `${name.replace(/[^\p{L}\p{N} -]+/gu, "").trim() || "adapter"}-curves.${form}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  };
  document.addEventListener("click", async (event) => {
    const form = event.target.closest?.("#live .save-curves [data-as]")?.dataset.as;
    if (!form) return;
    if (form === "csv") return document.querySelector("#curves-csv").click();
    const { text, width, height } = picture();
    const drawn = new Blob([text], { type: "image/svg+xml" });
    if (form === "svg") return save(drawn, form);
    const image = new Image(width, height);
    image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
    await image.decode();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [2 * width, 2 * height];
    canvas.getContext("2d").drawImage(image, 0, 0, 2 * width, 2 * height);
    canvas.toBlob((blob) => save(blob, form));
  });
  document.addEventListener("studio-curves", ({ detail }) => {
    if (detail) save(new Blob([JSON.parse(detail).text], { type: "text/csv" }), "csv");
  });
})();
