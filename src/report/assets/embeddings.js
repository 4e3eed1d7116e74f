// Embeddings in two dimensions over the epochs: points by class, centres as crosses.
function embeddingView(view) {
  const { classes, origin = [0, 0] } = view;
  // Centres come as directions from the origin: they are drawn as far out as the embeddings reach.
  const epochs = view.epochs.map((e) => ({ ...e, centres: (e.centres || []).map(([x, y]) => [origin[0] + x * (e.reach ?? 1), origin[1] + y * (e.reach ?? 1)]) }));
  const canvas = h("canvas", { class: "points", tabindex: "0", role: "application", "aria-roledescription": "scatter chart",
    "aria-label": "Embeddings. Arrow up and down walk through the classes, left and right through the epochs." });
  const out = h("output", {}), tip = h("div", { class: "tip", hidden: true });
  const slider = h("input", { type: "range", min: "0", max: String(epochs.length - 1), step: "1", value: String(epochs.length - 1) });
  const place = h("div", { class: "plot" }, canvas, tip);
  const nameOfClass = (n) => classes[n] ?? `class ${n}`;
  const labels = [...new Set(epochs.flatMap((e) => e.labels))].sort((a, b) => a - b);
  const all = epochs.flatMap((e) => [...e.points, ...(e.centres || [])]).filter(([x, y]) => finite(x) && finite(y));
  const reach = all.reduce((most, [x, y]) => Math.max(most, Math.abs(x), Math.abs(y)), 0) || 1;
  let chosen = null, own = false, playing = null;

  const epoch = () => epochs[Number(slider.value)];
  /// Hues around the circle, each neighbour far away, in three lightnesses.
  const colour = (label, alpha) => {
    const n = labels.indexOf(label), dark = getComputedStyle(document.documentElement).colorScheme === "dark";
    if (labels.length <= 8) return withAlpha(getComputedStyle(document.documentElement).getPropertyValue(`--c${n}`), alpha);
    const light = (dark ? [72, 60, 80] : [40, 52, 30])[n % 3];
    return `hsl(${(n * 137.508) % 360} 65% ${light}% / ${alpha})`;
  };
  const withAlpha = (hex, alpha) => `${hex.trim()}${Math.round(alpha * 255).toString(16).padStart(2, "0")}`;

  function geometry() {
    const width = Math.max(place.clientWidth, 240), height = Math.min(width, 560);
    const of = epoch();
    const most = own ? of.points.concat(of.centres || []).reduce((m, [x, y]) => (finite(x) && finite(y) ? Math.max(m, Math.abs(x), Math.abs(y)) : m), 0) || 1 : reach;
    const scale = Math.min(width, height) / 2 / (most * 1.06);
    return { width, height, X: (x) => width / 2 + x * scale, Y: (y) => height / 2 - y * scale };
  }
  function draw() {
    const { width, height, X, Y } = geometry(), of = epoch(), ratio = window.devicePixelRatio || 1;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    canvas.style.height = `${height}px`;
    const css = getComputedStyle(document.documentElement), pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    pen.strokeStyle = css.getPropertyValue("--grid");
    pen.beginPath();
    pen.moveTo(0, Y(0)); pen.lineTo(width, Y(0)); pen.moveTo(X(0), 0); pen.lineTo(X(0), height);
    pen.stroke();
    of.points.forEach(([x, y], n) => {
      if (!finite(x) || !finite(y)) return;
      pen.fillStyle = colour(of.labels[n], chosen === null ? 0.75 : chosen === of.labels[n] ? 1 : 0.1);
      pen.beginPath();
      pen.arc(X(x), Y(y), chosen === of.labels[n] ? 3.4 : 2.4, 0, 7);
      pen.fill();
    });
    pen.lineWidth = 2;
    (of.centres || []).forEach(([x, y], label) => {
      if (!finite(x) || !finite(y) || (chosen !== null && chosen !== label)) return;
      pen.strokeStyle = css.getPropertyValue("--ink");
      pen.beginPath();
      pen.moveTo(X(x) - 5, Y(y)); pen.lineTo(X(x) + 5, Y(y)); pen.moveTo(X(x), Y(y) - 5); pen.lineTo(X(x), Y(y) + 5);
      pen.stroke();
    });
    out.textContent = `epoch ${of.epoch}`;
    slider.setAttribute("aria-valuetext", `epoch ${of.epoch}`);
    canvas.dataset.epoch = of.epoch;
  }
  function choose(label, aloud) {
    chosen = label;
    draw();
    if (!aloud) return;
    const of = epoch(), mine = of.points.filter((_, n) => of.labels[n] === label).filter(([x, y]) => finite(x) && finite(y));
    const mean = [0, 1].map((axis) => number(mine.reduce((sum, p) => sum + p[axis], 0) / mine.length));
    tip.replaceChildren(h("div", {}, nameOfClass(label)), h("div", { class: "when" }, `${plural(mine.length, "point")}, mean ${mean.join(", ")}`));
    [tip.style.left, tip.style.top, tip.hidden] = ["12px", "12px", false];
    say(`${nameOfClass(label)}: ${plural(mine.length, "point")} around ${mean.join(", ")} in epoch ${of.epoch}`);
  }
  function step(by) {
    slider.value = String(Math.min(Math.max(Number(slider.value) + by, 0), epochs.length - 1));
    draw();
    say(`epoch ${epoch().epoch}`);
  }
  canvas.addEventListener("pointermove", (event) => {
    const { X, Y, width } = geometry(), box = canvas.getBoundingClientRect(), of = epoch();
    const [px, py] = [event.clientX - box.left, event.clientY - box.top];
    let best = null, nearest = 144;
    of.points.forEach(([x, y], n) => {
      const away = (X(x) - px) ** 2 + (Y(y) - py) ** 2;
      if (away < nearest) [best, nearest] = [n, away];
    });
    const label = best === null ? null : of.labels[best];
    if (label !== chosen) choose(label, false);
    tip.hidden = best === null;
    if (best === null) return;
    tip.replaceChildren(h("div", {}, nameOfClass(label)), h("div", { class: "when" }, of.points[best].map(number).join(", ")));
    tip.style.left = `${Math.min(px + 14, width - 180)}px`;
    tip.style.top = `${py + 14}px`;
  });
  const leave = () => { tip.hidden = true; choose(null, false); };
  canvas.addEventListener("pointerleave", leave);
  canvas.addEventListener("blur", leave);
  canvas.addEventListener("keydown", (event) => {
    const at = labels.indexOf(chosen), side = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === "ArrowDown") choose(labels[(at + 1) % labels.length], true);
    else if (event.key === "ArrowUp") choose(labels[(Math.max(at, 0) + labels.length - 1) % labels.length], true);
    else if (event.key === "Escape") leave();
    else if (side) step(side);
    else return;
    event.preventDefault();
  });
  slider.addEventListener("input", draw);
  const play = h("button", { type: "button", class: "plain" }, "Play");
  const stop = () => { clearInterval(playing); playing = null; play.textContent = "Play"; };
  play.addEventListener("click", () => {
    if (playing) return stop();
    if (Number(slider.value) === epochs.length - 1) slider.value = "-1";
    play.textContent = "Stop";
    // A slide show, no motion between its pictures.
    playing = setInterval(() => {
      slider.value = String(Number(slider.value) + 1);
      draw();
      if (Number(slider.value) >= epochs.length - 1) stop();
    }, 700);
    draw();
  });
  drawn(place, draw);
  return h("figure", { class: "chart" }, h("figcaption", {}, h("h3", {}, "Embeddings", h("span", { class: "unit" }, ` ${plural(labels.length, "class").replace("classs", "classes")}${view.dim > 2 ? `, ${view.dim} dimensions drawn along their principal axes` : ""}`)),
    toggle("fit each epoch", false, (on) => { own = on; draw(); })),
  place, h("div", { class: "tools" }, h("label", {}, "Epoch", slider, out), epochs.length > 1 && play),
  h("p", { class: "note" }, "The embeddings as the network gives them, not normalised; crosses are the class weights. Both axes have one scale, the same in every epoch unless each is fitted."));
}
