// Line charts: SVG, a cursor for pointer and arrow keys, a legend that switches lines.
const hiddenRuns = new Set();
const HEIGHT = 240;
const MARGIN = { left: 58, right: 14, top: 10, bottom: 36 };

/// The index of the value of a series at x, or -1. Points may stand for a span of x; a stair holds
/// its last value.
function indexAt(line, x) {
  if (line.stair) {
    let n = lowerBound(line.x, x);
    while (n + 1 < line.x.length && line.x[n + 1] === x) n++;
    return line.x[n] === x ? n : n - 1;
  }
  const n = lowerBound(line.x, x);
  if (n === line.x.length) return -1;
  return (line.first ? line.first[n] <= x : line.x[n] === x) ? n : -1;
}

/// Path data through the points that can be drawn; what can't be leaves a gap.
function path(line, values, X, Y) {
  let out = "", open = false;
  for (let n = 0; n < line.x.length; n++) {
    const v = values[n], x = line.x[n];
    if (!finite(v) || (Y.log && v <= 0) || (X.log && x <= 0)) { if (!line.stair) open = false; continue; }
    const [px, py] = [X.at(x).toFixed(1), Y.at(v).toFixed(1)];
    out += open ? (line.stair ? `H${px}V${py}` : `L${px},${py}`) : `M${px},${py}`;
    open = true;
  }
  return out;
}

function bandPath(line, X, Y) {
  const [up, down] = [[], []];
  let out = "";
  const close = () => {
    if (up.length > 1) out += `M${up.join("L")}L${down.reverse().join("L")}Z`;
    up.length = down.length = 0;
  };
  line.x.forEach((x, n) => {
    let [low, high] = [line.low[n], line.high[n]];
    if (!finite(low) || !finite(high) || (Y.log && high <= 0)) return close();
    if (Y.log && low <= 0) low = Y.low;
    up.push(`${X.at(x).toFixed(1)},${Y.at(high).toFixed(1)}`);
    down.push(`${X.at(x).toFixed(1)},${Y.at(low).toFixed(1)}`);
  });
  close();
  return out;
}

/// A figure. `options`: title, unit, x (name of the axis), when(x, line, n) (the cursor's text),
/// lines [{name, run, colour, dash, x, y, low, high, first, stair, dots, odd, oddCount}], note,
/// logY, logX ("able" or "on"), marks [{at, name}], yRange, xRange, chance, wholeX, data.
function chart(options) {
  const { title, lines, unit, note } = options;
  const off = new Set();
  let logY = options.logY === "on", logX = options.logX === "on", cursor = null, now = null;
  const plot = h("div", { class: "plot", tabindex: "0", role: "application",
    "aria-roledescription": "chart", "aria-label": `${title}. ${describe(options)}` });
  const tip = h("div", { class: "tip", hidden: true });
  const visible = () => lines.filter((line) => !off.has(line) && !hiddenRuns.has(line.run));

  function draw() {
    const width = Math.max(plot.clientWidth || 520, 240);
    const shown = visible();
    const ys = shown.flatMap((l) => [...l.y, ...(l.low || []), ...(l.high || [])]);
    const inner = { left: MARGIN.left, right: width - MARGIN.right, top: MARGIN.top, bottom: HEIGHT - MARGIN.bottom };
    const xs = shown.flatMap((l) => (l.first && !logX ? [l.first[0], ...l.x] : l.x));
    const X = makeScale([...xs, ...(options.marks || []).map((m) => m.at)], inner.left, inner.right,
      { log: logX, count: width / 70, whole: options.wholeX, range: options.xRange });
    const Y = makeScale(ys, inner.bottom, inner.top, { log: logY, pad: 0.06, count: 6, range: options.yRange });
    const svg = s("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, "aria-hidden": "true" });
    Y.ticks.forEach((t, n) => svg.append(
      s("line", { class: "gridline", x1: inner.left, x2: inner.right, y1: Y.at(t), y2: Y.at(t) }),
      s("text", { x: inner.left - 8, y: Y.at(t) + 4, "text-anchor": "end" }, Y.labels[n])));
    X.ticks.forEach((t, n) => svg.append(
      s("line", { class: "axis", x1: X.at(t), x2: X.at(t), y1: inner.bottom, y2: inner.bottom + 4 }),
      s("text", { x: X.at(t), y: inner.bottom + 17, "text-anchor": "middle" }, X.labels[n])));
    svg.append(s("line", { class: "axis", x1: inner.left, x2: inner.right, y1: inner.bottom, y2: inner.bottom }),
      s("text", { x: inner.right, y: HEIGHT - 4, "text-anchor": "end" }, options.x));
    if (options.chance) {
      const chance = Array.from({ length: 60 }, (_, n) => (X.log ? X.low * (X.high / X.low) ** (n / 59) : n / 59));
      const diagonal = { x: chance, y: chance };
      svg.append(s("path", { class: "curve chance", d: path(diagonal, chance, X, Y) }));
    }
    const edges = [];
    for (const mark of options.marks || []) {
      const at = X.at(mark.at), right = at > (inner.left + inner.right) / 2;
      svg.append(s("line", { class: "mark", x1: at, x2: at, y1: inner.top, y2: inner.bottom }),
        s("text", { class: "marked", x: at + (right ? -6 : 6), y: inner.top + 10, "text-anchor": right ? "end" : "start" }, mark.name));
    }
    for (const line of shown) {
      const colour = `c${line.colour % 8}`;
      if (line.area) {
        const floor = Y.at(Math.max(Y.low, 0));
        const d = path(line, line.y, X, Y);
        if (d) svg.append(s("path", { class: `area ${colour}`, d: `${d}V${floor}H${X.at(line.x[0])}Z` }));
        continue;
      }
      if (line.low) svg.append(s("path", { class: `band ${colour}${shown.length > 2 ? " thin" : ""}`, d: bandPath(line, X, Y) }));
      const dash = [null, "6 4", "2 4"][line.dash || 0];
      svg.append(s("path", { class: `curve ${colour}`, d: path(line, line.y, X, Y), "stroke-dasharray": dash }));
      if (line.x.length <= 40 && !line.stair) line.x.forEach((x, n) => {
        if (finite(line.y[n]) && !(logY && line.y[n] <= 0)) {
          svg.append(s("circle", { class: `dot ${colour}`, cx: X.at(x), cy: Y.at(line.y[n]), r: 2.6 }));
        }
      });
      for (const [x] of line.odd || []) edges.push(X.at(x));
    }
    for (const x of edges) svg.append(s("path", { class: "odd", d: `M${x - 3},${inner.bottom - 7}l6,6m0,-6l-6,6` }));
    const over = s("g");
    svg.append(over);
    plot.replaceChildren(svg, tip);
    const union = [...new Set(shown.flatMap((l) => l.x))].filter((x) => finite(x) && (!logX || x > 0));
    now = { X, Y, inner, width, over, shown, stops: union.sort((a, b) => a - b) };
    if (cursor !== null) show(cursor, false);
  }

  function show(x, aloud) {
    const { X, Y, inner, over, shown, width } = now;
    cursor = x;
    over.replaceChildren(s("line", { class: "cursor", x1: X.at(x), x2: X.at(x), y1: inner.top, y2: inner.bottom }));
    const entries = [];
    let when = null;
    for (const line of shown) {
      const n = indexAt(line, x);
      if (n < 0) continue;
      const odd = (line.odd || []).find(([at]) => at === line.x[n]);
      const text = odd && !finite(line.y[n]) ? number(odd[1]) : (options.show || number)(line.y[n]);
      when = when || (options.when ? options.when(x, line, n) : `${options.x} ${number(x)}`);
      const range = line.low && finite(line.low[n]) && !line.area
        ? (line.spread ? `± ${number(line.high[n] - line.y[n])}` : `${number(line.low[n])} to ${number(line.high[n])}`) : null;
      entries.push({ line, text, range });
      if (finite(line.y[n]) && !(Y.log && line.y[n] <= 0)) {
        over.append(s("circle", { class: `ring c${line.colour % 8}`, cx: X.at(line.stair ? x : line.x[n]), cy: Y.at(line.y[n]), r: 4 }));
      }
    }
    when = when || `${options.x} ${number(x)}`;
    tip.replaceChildren(h("div", { class: "when" }, when), ...entries.slice(0, 14).map(({ line, text, range }) =>
      h("div", { class: "entry" }, h("span", { class: `swatch c${line.colour % 8} d${line.dash || 0}` }),
        h("span", {}, line.name), h("b", {}, text), range && h("span"), range && h("span"), range && h("span", { class: "range" }, range))));
    tip.hidden = false;
    const right = X.at(x) > width * 0.55;
    tip.style.left = right ? "auto" : `${X.at(x) + 12}px`;
    tip.style.right = right ? `${width - X.at(x) + 12}px` : "auto";
    tip.style.top = `${inner.top + 4}px`;
    if (aloud) say(`${when}: ${entries.map((e) => `${e.line.name} ${e.text}${e.range ? `, ${e.range}` : ""}`).join("; ")}`);
  }
  function hide() {
    cursor = null;
    tip.hidden = true;
    if (now) now.over.replaceChildren();
  }
  plot.addEventListener("pointermove", (event) => {
    if (!now || !now.stops.length) return;
    const { X, stops, width } = now;
    const box = plot.getBoundingClientRect(), at = ((event.clientX - box.left) / box.width) * width;
    let best = stops[0];
    for (const x of stops) if (Math.abs(X.at(x) - at) < Math.abs(X.at(best) - at)) best = x;
    show(best, false);
  });
  plot.addEventListener("pointerleave", hide);
  plot.addEventListener("blur", hide);
  plot.addEventListener("keydown", (event) => {
    if (!now) draw();
    const { stops } = now, page = Math.max(1, Math.round(stops.length / 10));
    const at = cursor === null ? -1 : lowerBound(stops, cursor);
    const to = { ArrowRight: at + 1, ArrowLeft: cursor === null ? stops.length - 1 : at - 1,
      PageDown: at + page, PageUp: at - page, Home: 0, End: stops.length - 1 }[event.key];
    if (event.key === "Escape") hide();
    if (to === undefined || !stops.length) return;
    event.preventDefault();
    show(stops[Math.min(Math.max(to, 0), stops.length - 1)], true);
  });

  const tools = [
    options.logX && toggle(options.logXName || "log x", logX, (on) => { logX = on; draw(); }),
    options.logY && toggle("log", logY, (on) => { logY = on; draw(); }),
  ];
  const own = lines.length > 1 && lines.some((line) => line.run === undefined);
  const legend = own && h("ul", { class: "legend" }, lines.map((line) => {
    const button = h("button", { type: "button", "aria-pressed": "true" },
      h("span", { class: `swatch c${line.colour % 8} d${line.dash || 0}` }), line.name);
    button.addEventListener("click", () => {
      const shown = off.delete(line);
      if (!shown) off.add(line);
      button.setAttribute("aria-pressed", String(shown));
      draw();
    });
    return h("li", {}, button);
  }));
  const figure = h("figure", { class: "chart" },
    h("figcaption", {}, h("h3", {}, title, unit && h("span", { class: "unit" }, ` ${unit}`)), tools),
    plot, legend, oddNote(lines), note && h("p", { class: "note" }, note), chartData(options));
  drawn(plot, draw);
  return figure;
}

/// The chart in words: how many lines, from where to where.
function describe({ lines, x }) {
  const parts = lines.slice(0, 6).map((line) => {
    const known = line.y.filter(finite);
    if (!known.length) return `${line.name}: no value`;
    return `${line.name}: from ${number(known[0])} to ${number(known[known.length - 1])}`;
  });
  if (lines.length > 6) parts.push(`and ${lines.length - 6} more lines`);
  return `${parts.join("; ")}, over ${x}. Arrow keys read the values.`;
}

/// What could not be drawn.
function oddNote(lines) {
  const odd = lines.filter((line) => line.oddCount);
  if (!odd.length) return null;
  return h("p", { class: "note" }, odd.map((line) => {
    const listed = line.odd.slice(0, 5).map(([x, v]) => `${number(v)} at ${number(x)}`).join(", ");
    const rest = line.oddCount > 5 ? ` and ${group(line.oddCount - 5)} more` : "";
    return `${line.name}: ${plural(line.oddCount, "value")} not finite (${listed}${rest}). `;
  }));
}

/// The numbers behind a chart as a table, made when it is opened.
function chartData({ lines, title, x }) {
  const details = h("details", { class: "data" }, h("summary", {}, "Numbers"));
  details.addEventListener("toggle", () => {
    if (details.childElementCount > 1) return;
    const stops = [...new Set(lines.flatMap((l) => l.x))].sort((a, b) => a - b);
    const head = h("tr", {}, h("th", { scope: "col", class: "n" }, x), lines.map((l) => h("th", { scope: "col", class: "n" }, l.name)));
    const rows = stops.map((at) => h("tr", {}, h("th", { scope: "row", class: "n" }, number(at)), lines.map((line) => {
      const n = indexAt(line, at);
      return h("td", { class: "n" }, n < 0 ? "" : number(line.y[n]));
    })));
    details.append(h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Numbers of ${title}` },
      h("table", {}, h("caption", { class: "unseen" }, `Numbers of ${title}`), h("thead", {}, head), h("tbody", {}, rows))));
  }, { passive: true });
  return details;
}
