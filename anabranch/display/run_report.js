// What the pointer is over: the time in a timeline, the items in a strip. The page says all else without this.
(() => {
  const tip = document.createElement("div");
  tip.id = "tip";
  document.body.append(tip);
  const show = (event, text) => {
    tip.textContent = text;
    tip.style.display = "block";
    const left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8);
    tip.style.left = `${left}px`;
    tip.style.top = `${event.clientY + 16}px`;
  };
  const hide = () => { tip.style.display = "none"; };
  const seconds = (s) => s < 1 ? `${(s * 1000).toFixed(s < 0.01 ? 2 : 0)} ms` : s < 60 ? `${s.toFixed(2)} s`
    : new Date(s * 1000).toISOString().slice(s < 3600 ? 14 : 11, 19);
  for (const picture of document.querySelectorAll("svg.time")) {
    const { left, span, seconds: all, begin } = document.body.dataset;
    picture.addEventListener("pointermove", (event) => {
      const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(picture.getScreenCTM().inverse());
      const part = (at.x - left) / span;
      if (part < 0 || part > 1) return hide();
      const title = event.target.closest("g")?.querySelector("title")?.textContent;
      show(event, `${seconds(Number(begin) + part * all)}${title ? ` · ${title}` : ""}`);
    });
    picture.addEventListener("pointerleave", hide);
  }
  for (const strip of document.querySelectorAll(".strip")) {
    const cells = JSON.parse(strip.dataset.cells), total = Number(strip.dataset.items);
    const words = document.body.dataset.words.split(" ");
    strip.addEventListener("pointermove", (event) => {
      const box = strip.getBoundingClientRect();
      const cell = Math.min(cells.length - 1, Math.floor((event.clientX - box.left) / box.width * cells.length));
      if (cell < 0) return hide();
      const first = Math.floor(total * cell / cells.length), last = Math.floor(total * (cell + 1) / cells.length) - 1;
      const counts = cells[cell].map((n, kind) => n ? `${n.toLocaleString()} ${words[kind]}` : "").filter(Boolean);
      show(event, `${first === last ? `item ${first}` : `items ${first.toLocaleString()} to ${last.toLocaleString()}`}: ${counts.join(", ")}`);
    });
    strip.addEventListener("pointerleave", hide);
  }
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => { one.open = true; }));
})();
