// A sweep: its trials, which parameters matter, and parallel coordinates to pick trials with.
function sweepView(sweep) {
  const { columns, rows, importance, links } = sweep;
  const of = (role) => columns.map((column, n) => ({ ...column, n })).filter((c) => c.role === role);
  const named = (name, role) => columns.findIndex((c) => c.name === name && (!role || c.role === role));
  const parameters = of("parameter"), numbers = of("metric");
  // What a sweep is judged by has its mean and spread over seeds beside it, in every row.
  const objective = numbers.find((m) => ["_mean", "_std", "_seeds"].every((end) => named(m.name + end) > m.n));
  const groupOf = (row) => ["_mean", "_std", "_seeds"].map((end) => value(row[named(objective.name + end)]));
  const derived = (m) => objective && ["_mean", "_std", "_seeds"].some((end) => m.name === objective.name + end);
  const metrics = [...(objective ? [objective] : []), ...numbers.filter((m) => m !== objective && !derived(m))];
  const [nameAt, statusAt, rankAt] = ["name", "status", "rank"].map((name) => named(name, "trial"));
  const low = (metric) => {
    const means = metric === objective && rankAt >= 0 ? rows.filter((row) => row[rankAt] !== "" && finite(groupOf(row)[0])) : [];
    const by = means.map((row) => [Number(row[rankAt]), groupOf(row)[0]]).sort((a, b) => a[0] - b[0]);
    // The ranks say which way is up, else the name does.
    return by.length > 1 && by[0][1] !== by[by.length - 1][1] ? by[0][1] < by[by.length - 1][1] : lowerIsBetter(metric.name);
  };
  const label = (row) => row[nameAt >= 0 ? nameAt : 0];
  const linked = (row) => {
    const link = links[rows.indexOf(row)];
    return link ? h("a", { href: link.split("/").map(encodeURIComponent).join("/") }, label(row)) : label(row);
  };
  const status = (text) => h("span", { class: `state ${String(text).split(/\W/)[0]}` }, text);
  const show = (c) => (v, row) => {
    if (c.n === nameAt) return linked(row);
    if (c.n === statusAt) return status(v);
    if (c.role === "metric") return c.name === "seconds" ? duration(value(v)) : fixed(v);
    return v === "" ? "–" : typeof v === "string" && !(v in WORDS) ? v : number(v);
  };
  const all = columns.map((c, n) => ({ ...c, n }));
  const place = (c) => [nameAt, rankAt, statusAt, objective ? objective.n : -1].indexOf(c.n) + 1 || (c.role === "trial" ? 7 : c.role === "parameter" ? 5 : 6);
  const shown = nameAt < 0 ? all : all.filter((c) => c.name !== "run" || c.role !== "trial").sort((a, b) => place(a) - place(b) || a.n - b.n);
  const table = sortable({
    caption: `Trials; a column's head sorts by it`, rows,
    columns: shown.map((c) => ({ name: c.name, n: c.n, numeric: c.numeric, wide: !c.numeric,
      better: c.role === "metric" && !derived(c) ? (low(objective && c.n === objective.n ? objective : c) ? "low" : "high") : null, show: show(c) })),
    cell: (row, column) => row[column.n],
  });
  const counts = new Map();
  for (const row of statusAt >= 0 ? rows : []) counts.set(row[statusAt], (counts.get(row[statusAt]) || 0) + 1);
  const tally = counts.size ? [h("p", { id: id("statuses"), class: "statuses" }, `${plural(rows.length, "trial")}: `, [...counts].flatMap(([word, count], n) => [n ? ", " : "", `${count} `, status(word)]))] : [];
  const groups = objective && rankAt >= 0 ? groupTable() : [];
  function groupTable() {
    const ranked = new Map();
    for (const row of rows) {
      const rank = row[rankAt];
      if (rank !== "" && rank !== null) ranked.set(rank, [...(ranked.get(rank) || []), row]);
    }
    if (![...ranked.values()].some((trials) => trials.length > 1)) return [];
    const best = [...ranked].sort((a, b) => Number(a[0]) - Number(b[0])).slice(0, 20);
    return [h("div", { class: "gap" }, plainTable({
      caption: `The best settings by ${objective.name}: mean ± sample standard deviation over seeds (seeds)`,
      head: ["rank", objective.name, "trials"],
      rows: best.map(([rank, trials]) => {
        const [mean, std, seeds] = groupOf(trials[0]);
        const spread = finite(std) ? ` ± ${fixed(std)}` : "";
        return { cells: [number(rank), `${fixed(mean)}${spread} (${number(seeds)})`, h("span", {}, trials.flatMap((row, n) => [n ? ", " : "", linked(row)]))] };
      }) }))];
  }
  if (!metrics.length) return [...tally, h("p", { class: "soft" }, "The sweep has no metric yet."), table.element];
  const favourite = objective || metrics.find((m) => !lowerIsBetter(m.name)) || metrics[0];
  const choice = h("select", {}, metrics.map((m) => h("option", { value: m.n, selected: m === favourite }, m.name)));
  const bars = h("div"), coordinates = h("div");
  const said = h("p", { class: "soft", id: id("picked") }, "");
  const picked = (keep, count) => {
    table.filter(keep);
    said.textContent = count === rows.length ? `All ${plural(rows.length, "trial")} are shown.` : `${count} of ${plural(rows.length, "trial")} picked; the table below shows them.`;
  };
  const varies = (c) => new Set(rows.map((row) => row[c.n])).size > 1;
  const fill = () => {
    const metric = metrics.find((m) => m.n === Number(choice.value));
    bars.replaceChildren(importanceBars(importance.find((i) => i.metric === metric.name)));
    coordinates.replaceChildren(parallel(rows, [...parameters.filter(varies), metric], { ...metric, low: low(metric) }, picked, label));
    picked(() => true, rows.length);
  };
  choice.addEventListener("change", fill);
  fill();
  return [
    problemBox(sweep.problems, "Parts of the sweep are damaged"), ...tally, ...groups,
    h("div", { class: "tools" }, h("label", {}, "Metric", choice)),
    h("div", { class: "card" }, h("h3", {}, "Importance of the parameters"), bars,
      h("p", { class: "note" }, "How strongly a parameter goes with the metric, from 0 to 1, over ranks: the magnitude of Spearman's ρ of numbers (+ rises with it, − falls), the correlation ratio η of others. It is no proof of a cause, η is high by chance where few trials have many values, and both miss what two parameters only do together. Of trials without a finite metric nothing is counted.")),
    h("div", { class: "gap" }, coordinates), said, table.element,
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
function parallel(rows, axes, metric, picked, label) {
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
    const good = metric.low ? 1 - up : up;
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
      // Over an axis that a trial has no value for its line is dashed; a value alone is a dot.
      let full = "", gap = "", last = null;
      const known = axes.map((_, k) => [k, height(row, k)]).filter(([, y]) => y !== null);
      for (const [k, y] of known) {
        const point = `${X(k)},${y.toFixed(1)}`;
        if (last !== null) {
          const way = `M${last.point}L${point}`;
          if (last.k === k - 1) full += way; else gap += way;
        }
        last = { k, point };
      }
      const group = s("g", { class: `trial${inside(row) ? "" : " out"}` }, s("title", {}, `trial ${label(row)}`));
      group.style.stroke = shade(row);
      if (full) group.append(s("path", { class: "way", d: full }));
      if (gap) group.append(s("path", { class: "way gap", d: gap }));
      if (known.length === 1) group.append(s("circle", { class: "way", cx: X(known[0][0]), cy: known[0][1], r: 3 }));
      svg.append(group);
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
