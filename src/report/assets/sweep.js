// A sweep: its trials, which parameters matter, and parallel coordinates to pick trials with.
function sweepView(sweep) {
  const { columns, rows, importance } = sweep;
  const of = (role) => columns.map((column, n) => ({ ...column, n })).filter((c) => c.role === role);
  const metrics = of("metric"), parameters = of("parameter");
  const table = sortable({
    caption: `Trials; a column's head sorts by it`, rows,
    columns: columns.map((c, n) => ({ name: c.name, n, numeric: c.numeric, wide: !c.numeric,
      better: c.role === "metric" ? (lowerIsBetter(c.name) ? "low" : "high") : null,
      show: (v) => (c.role === "metric" ? fixed(v) : typeof v === "string" && !(v in WORDS) ? v : number(v)) })),
    cell: (row, column) => row[column.n],
  });
  if (!metrics.length) return [h("p", { class: "soft" }, "The sweep has no metric yet."), table.element];
  const favourite = metrics.find((m) => !lowerIsBetter(m.name)) || metrics[0];
  const choice = h("select", {}, metrics.map((m) => h("option", { value: m.n, selected: m === favourite }, m.name)));
  const bars = h("div"), coordinates = h("div");
  const status = h("p", { class: "soft", id: id("picked") }, "");
  const picked = (keep, count) => {
    table.filter(keep);
    status.textContent = count === rows.length ? `All ${plural(rows.length, "trial")} are shown.` : `${count} of ${plural(rows.length, "trial")} picked; the table below shows them.`;
  };
  const varies = (c) => new Set(rows.map((row) => row[c.n])).size > 1;
  const fill = () => {
    const metric = metrics.find((m) => m.n === Number(choice.value));
    bars.replaceChildren(importanceBars(importance.find((i) => i.metric === metric.name)));
    coordinates.replaceChildren(parallel(rows, [...parameters.filter(varies), metric], metric, picked));
    picked(() => true, rows.length);
  };
  choice.addEventListener("change", fill);
  fill();
  return [
    problemBox(sweep.problems, "Parts of the sweep are damaged"),
    h("div", { class: "tools" }, h("label", {}, "Metric", choice)),
    h("div", { class: "card" }, h("h3", {}, "Importance of the parameters"), bars,
      h("p", { class: "note" }, "How strongly a parameter goes with the metric, from 0 to 1, over ranks: the magnitude of Spearman's ρ of numbers (+ rises with it, − falls), the correlation ratio η of others. It is no proof of a cause, η is high by chance where few trials have many values, and both miss what two parameters only do together. Of trials without a finite metric nothing is counted.")),
    h("div", { class: "gap" }, coordinates), status, table.element,
  ];
}

function importanceBars({ parameters }) {
  const cells = parameters.flatMap(({ parameter, measure, value: v, trials }) => {
    const fill = h("div", { class: `fill ${measure}` });
    fill.style.width = `${Math.abs(v || 0) * 100}%`;
    const sign = measure === "rho" ? (v < 0 ? "− " : "+ ") : "";
    const text = v === null ? "does not vary" : `${sign}${Math.abs(v).toFixed(2)} ${measure === "rho" ? "ρ" : "η"}`;
    return [h("span", { class: "mono" }, parameter), h("div", { class: "track" }, fill), h("span", {}, text, h("span", { class: "soft" }, `, ${plural(trials, "trial")}`))];
  });
  return h("div", { class: "bars" }, cells);
}

/// Parallel coordinates: an axis for each column, a line for each trial, a range to pick on each axis.
function parallel(rows, axes, metric, picked) {
  const HIGH = 330, top = 44, bottom = HIGH - 26;
  const brushes = new Map();
  const place = h("div", { class: "plot" });
  const scales = axes.map((axis) => {
    const values = rows.map((row) => value(row[axis.n]));
    if (!axis.numeric) {
      const names = [...new Set(values.filter((v) => v !== "" && v !== null))].sort();
      const at = (v) => (names.includes(v) ? bottom - ((names.indexOf(v) + 0.5) / names.length) * (bottom - top) : null);
      return { at, ticks: names, labels: names };
    }
    const known = values.filter((v) => finite(v));
    const log = known.length > 0 && Math.min(...known) > 0 && Math.max(...known) / Math.min(...known) >= 50;
    const scale = makeScale(known, bottom, top, { log, pad: 0.04, count: 5 });
    const distinct = [...new Set(known)].sort((a, b) => a - b);
    if (distinct.length <= 6) Object.assign(scale, { ticks: distinct, labels: distinct.map(number) });
    return { ...scale, at: (v) => (finite(v) && !(log && v <= 0) ? scale.at(v) : null) };
  });
  const height = (row, k) => scales[k].at(value(row[axes[k].n]));
  const inside = (row) => [...brushes].every(([k, [a, b]]) => { const y = height(row, k); return y !== null && y >= a && y <= b; });
  const shade = (row) => {
    const y = height(row, axes.length - 1);
    if (y === null) return getComputedStyle(document.documentElement).getPropertyValue("--soft");
    const css = getComputedStyle(document.documentElement), up = (bottom - y) / (bottom - top);
    const good = lowerIsBetter(metric.name) ? 1 - up : up;
    const [from, to, part] = good < 0.5 ? ["--low", "--mid", good * 2] : ["--mid", "--high", good * 2 - 1];
    return `color-mix(in oklab, ${css.getPropertyValue(from)} ${(1 - part) * 100}%, ${css.getPropertyValue(to)})`;
  };
  /// The end of a brush as a value, in words.
  const words = (k) => {
    const [a, b] = brushes.get(k), scale = scales[k];
    if (!axes[k].numeric) return scale.ticks.filter((v) => scale.at(v) >= a && scale.at(v) <= b).join(", ") || "none";
    const back = (y) => { const part = (bottom - y) / (bottom - top); return scale.log ? scale.low * (scale.high / scale.low) ** part : scale.low + part * (scale.high - scale.low); };
    return `${number(back(b))} to ${number(back(a))}`;
  };
  function changed(k, aloud) {
    const count = rows.filter(inside).length;
    picked(inside, count);
    draw();
    if (aloud) say(`${axes[k].name}: ${brushes.has(k) ? words(k) : "all"}; ${count} of ${rows.length} trials`);
  }

  let focused = null;
  function draw() {
    const width = Math.max(place.clientWidth || 600, 90 * axes.length + 60);
    const X = (k) => 70 + (k * (width - 140)) / Math.max(axes.length - 1, 1);
    const svg = s("svg", { viewBox: `0 0 ${width} ${HIGH}`, role: "group", "aria-label": `Parallel coordinates of ${plural(rows.length, "trial")}` });
    for (const row of [...rows].sort((a, b) => inside(a) - inside(b))) {
      let d = "", open = false;
      axes.forEach((_, k) => {
        const y = height(row, k);
        if (y === null) { open = false; return; }
        d += `${open ? "L" : "M"}${X(k)},${y.toFixed(1)}`;
        open = true;
      });
      const line = s("path", { class: `trial${inside(row) ? "" : " out"}`, d });
      line.style.stroke = shade(row);
      line.append(s("title", {}, `trial ${row[0]}`));
      svg.append(line);
    }
    axes.forEach((axis, k) => svg.append(vertical(axis, k, X(k))));
    // The axis that has the focus is another element now, and taking the old one away blurs it.
    const again = focused;
    place.replaceChildren(svg);
    focused = again;
    if (again !== null) svg.querySelectorAll("g.vertical")[again].focus({ preventScroll: true });
  }
  function vertical(axis, k, x) {
    const brush = brushes.get(k), count = rows.filter(inside).length;
    const group = s("g", { class: "vertical", tabindex: "0", role: "slider", "aria-label": `${axis.name}: range to pick`,
      "aria-orientation": "vertical", "aria-valuemin": "0", "aria-valuemax": String(rows.length), "aria-valuenow": String(count),
      "aria-valuetext": `${brush ? words(k) : "all"}, ${count} of ${rows.length} trials` });
    const short = axis.name.length > 18 ? `…${axis.name.slice(-17)}` : axis.name;
    group.append(s("title", {}, axis.name), s("text", { class: "marked", x, y: 16, "text-anchor": "middle" }, short));
    if (brush) group.append(s("text", { x, y: 30, "text-anchor": "middle" }, words(k).slice(0, 22)));
    group.append(s("line", { class: "axis", x1: x, x2: x, y1: top, y2: bottom }));
    scales[k].ticks.forEach((t, n) => group.append(s("text", { x: x - 7, y: scales[k].at(t) + 4, "text-anchor": "end" }, String(scales[k].labels[n]).slice(0, 12))));
    if (brush) group.append(s("rect", { class: "brush", x: x - 7, width: 14, y: brush[0], height: Math.max(brush[1] - brush[0], 1), rx: 3 }));
    group.append(s("rect", { class: "hit", x: x - 14, width: 28, y: top - 6, height: bottom - top + 12 }));
    group.addEventListener("focus", () => { focused = k; });
    group.addEventListener("blur", () => { if (group.isConnected) focused = null; });
    group.addEventListener("pointerdown", (event) => {
      const box = place.getBoundingClientRect(), zoom = HIGH / place.firstChild.getBoundingClientRect().height;
      const at = (e) => Math.min(Math.max((e.clientY - box.top) * zoom, top), bottom);
      const from = at(event);
      event.preventDefault();
      const move = (e) => { const to = at(e); brushes.set(k, [Math.min(from, to), Math.max(from, to)]); changed(k, false); };
      const up = (e) => {
        window.removeEventListener("pointermove", move);
        window.removeEventListener("pointerup", up);
        if (Math.abs(at(e) - from) < 3) { brushes.delete(k); changed(k, false); }
        focused = k;
        draw();
      };
      window.addEventListener("pointermove", move);
      window.addEventListener("pointerup", up);
    });
    group.addEventListener("keydown", (event) => {
      // Up and down move the lower end, with Shift the upper one; a twentieth of the axis each.
      const by = { ArrowUp: -1, ArrowDown: 1 }[event.key];
      if (event.key === "Escape" || event.key === "Delete") brushes.delete(k);
      else if (by) {
        let [a, b] = brushes.get(k) || [top, bottom];
        const step = (by * (bottom - top)) / 20;
        if (event.shiftKey) a = Math.min(Math.max(a + step, top), b); else b = Math.min(Math.max(b + step, a), bottom);
        if (a <= top + 0.5 && b >= bottom - 0.5) brushes.delete(k); else brushes.set(k, [a, b]);
      } else return;
      event.preventDefault();
      changed(k, true);
    });
    return group;
  }
  drawn(place, draw);
  return h("figure", { class: "chart" }, h("figcaption", {}, h("h3", {}, "Parallel coordinates", h("span", { class: "unit" }, ` the stronger a line, the better its ${metric.name}`))), place,
    h("p", { class: "note" }, "Drag along an axis to pick a range, click it to drop the range. With the keyboard: Tab to an axis, arrow up and down move the lower end of its range, with Shift the upper one, Escape drops it."));
}
