// What the distances of pairs say: ROC, histograms, the pairs at the ends.

/// Of each set one ROC, of several runs the first checkpoint of each; histograms below.
function scoreCharts(runs) {
  const single = runs.length === 1;
  const sets = [...new Set(runs.flatMap((run) => run.scores.map((of) => of.set)))];
  return sets.map((set) => {
    const lines = runs.flatMap((run, n) => {
      const own = run.scores.filter((of) => of.set === set);
      return (single ? own : own.slice(0, 1)).map((of, k) => ({
        ...runLine(run, n), ...(single ? { name: `${of.checkpoint}, AUC ${fixed(of.auc)}`, colour: k, dash: of.checkpoint === "untrained" ? 2 : k % 2 } : { name: `${run.label} (${of.checkpoint})` }),
        stair: true, x: of.roc.far.map(value), y: of.roc.tar.map(value),
      }));
    });
    const roc = chart({ title: "ROC", unit: "true over false accept rate", x: "false accept rate", lines, logX: "able", logXName: "log FAR",
      xRange: [0, 1], yRange: [0, 1], chance: true, show: fixed, when: (x) => `FAR ${number(x)}`,
      note: "The dotted line is guessing. With log FAR, rates of zero have no place and are left out." });
    const first = runs.map((run) => run.scores.find((of) => of.set === set)).filter(Boolean);
    const histograms = single ? [picked(runs[0].scores.filter((of) => of.set === set))] : first.map((of) => histogram(of, runs.find((run) => run.scores.includes(of)).label));
    return h("div", { class: "block" }, h("h3", {}, set), h("div", { class: "grid two" }, roc, single ? histograms : null),
      single ? null : h("details", {}, h("summary", {}, "Score histograms of each run"), h("div", { class: "grid" }, histograms)));
  });
}

/// The histograms of one checkpoint, with a choice of others.
function picked(scores) {
  const choice = h("select", { "aria-label": "Checkpoint of the histogram" }, scores.map((of, n) => h("option", { value: n }, of.checkpoint)));
  const place = h("div");
  const fill = () => {
    const figure = histogram(scores[Number(choice.value)]);
    if (scores.length > 1) figure.querySelector("figcaption").append(choice);
    place.replaceChildren(figure);
  };
  choice.addEventListener("change", () => { fill(); choice.focus(); });
  fill();
  return place;
}

function histogram(of, label) {
  const bins = of.histogram;
  if (!bins) return h("p", {}, "No distance is finite.");
  const line = (name, counts, colour, total) => ({ name, colour, area: true, stair: true,
    x: [...counts.map((_, n) => bins.low + n * bins.width), bins.low + counts.length * bins.width],
    y: [...counts.map((count) => count / total), 0] });
  return chart({ title: label ? `Distances: ${label}` : "Distances", unit: `share of pairs, ${of.checkpoint}`, x: "squared L2 distance",
    lines: [line(`genuine (${group(of.genuine)})`, bins.genuine, 0, of.genuine), line(`impostor (${group(of.impostors)})`, bins.impostor, 1, of.impostors)],
    marks: finite(value(of.threshold)) ? [{ at: of.threshold, name: `threshold ${number(of.threshold)}` }] : [], show: fixed,
    when: (x) => `from ${number(x)} to ${number(x + bins.width)}`,
    note: "Pairs left of the threshold are taken for one person." });
}

/// Pairs as pictures: where the network is most wrong, and most sure.
function pairViews(run) {
  const picture = (n) => {
    const { path: file, src, width, height, missing } = run.pictures[n];
    const name = file.split("/").slice(-2).join("/");
    return src ? h("img", { src, width, height, alt: name, title: file, loading: "lazy" })
      : h("div", { class: "missing", role: "img", "aria-label": `${file}: ${missing}`, title: missing }, `${file}: ${missing}`);
  };
  return run.pairs.map(({ set, checkpoint, groups }) => h("div", { class: "block" },
    h("p", { class: "soft" }, `${set}, checkpoint ${checkpoint}. Squared L2 distance of the normalised embeddings; right and wrong are by the threshold of the whole set.`),
    groups.map((of) => h("div", { class: "block" }, h("h3", {}, of.title, h("span", { class: "soft" }, `: ${of.what}`)),
      h("ul", { class: "pairs" }, of.pairs.map((pair) => h("li", {}, h("div", { class: "two" }, picture(pair.first), picture(pair.second)),
        h("div", { class: "verdict" }, h("b", {}, fixed(pair.distance)),
          h("span", { class: pair.right ? "right" : "wrong" }, pair.right ? "right" : "wrong")))))))));
}
