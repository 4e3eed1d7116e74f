// Curves over epochs and steps, of one run or of several over each other.
const NAMES = {
  loss: "Loss", lr: "Learning rate", images_per_second: "Throughput", accuracy: "Batch accuracy",
  grad_norm: "Gradient norm", embedding_norm: "Embedding norm", target_cosine: "Cosine to the own class",
  top_cosine: "Cosine to the nearest other class", seconds: "Seconds per epoch",
};
const UNITS = { images_per_second: "images/s", seconds: "s", train_accuracy: "fraction", val_accuracy: "fraction", accuracy: "fraction" };
const LOGGED = /loss|lr|norm|seconds|scale|std/;
const nameOf = (column) => NAMES[column] || column;
const EPOCH_NAMES = { accuracy: "Accuracy", images_per_second: "Throughput" };
const epochNameOf = (column) => EPOCH_NAMES[column] || nameOf(column);

const runLine = (run, n) => ({ name: run.label, run: run.several ? run : undefined, colour: n, dash: Math.floor(n / 8) % 3 });
const known = (values) => values.some((v) => v !== null && v !== undefined);

/// Curves over epochs: of one run training and validation together, of several each on its own.
function epochCharts(runs) {
  const with_ = runs.map((run, n) => [run, n]).filter(([run]) => run.epochs);
  if (!with_.length) return [];
  const single = runs.length === 1;
  const line = (run, n, column, own) => ({ ...runLine(run, n), ...own, x: run.epochs.x, y: columnOf(run.epochs, column) });
  const marks = single && runs[0].best ? [{ at: runs[0].best.epoch, name: `best epoch ${runs[0].best.epoch}` }] : [];
  const make = (title, unit, lines, logY, marks) => {
    const drawn = lines.filter((l) => known(l.y));
    if (!drawn.length) return null;
    return chart({ title, unit, x: "epoch", lines: drawn.map(withOdd), marks, logY: logY && "able", wholeX: true });
  };
  const out = [];
  for (const [what, title, log] of [["loss", "loss", true], ["accuracy", "accuracy", false]]) {
    const unit = UNITS[what];
    if (single) {
      out.push(make(epochNameOf(what), unit, [
        line(runs[0], 0, `train_${what}`, { name: "training", colour: 0 }),
        line(runs[0], 0, `val_${what}`, { name: "validation", colour: 1, dash: 1 })], log, marks));
      continue;
    }
    for (const [split, word] of [["val", "Validation"], ["train", "Training"]]) {
      out.push(make(`${word} ${title}`, unit, with_.map(([run, n]) => line(run, n, `${split}_${what}`)), log));
    }
  }
  const shown = ["epoch", "train_loss", "val_loss", "train_accuracy", "val_accuracy", "lr"];
  const rest = new Set(with_.flatMap(([run]) => run.epochs.columns.map((c) => c.name)).filter((name) => !shown.includes(name)));
  for (const name of rest) {
    const lines = with_.map(([run, n]) => line(run, n, name, single ? { name: epochNameOf(name) } : {}));
    out.push(make(epochNameOf(name), UNITS[name], lines, LOGGED.test(name)));
  }
  return out.filter(Boolean);
}
/// A short curve's own values that are not finite.
function withOdd(line) {
  const odd = line.x.map((x, n) => [x, line.y[n]]).filter(([, v]) => typeof v === "number" && !Number.isFinite(v));
  return { ...line, odd: odd.slice(0, 50), oddCount: odd.length };
}

/// Checkpoints that are averages of weights.
const AVERAGED = /(^|-)ema$/;

/// The scores of the evaluations over epochs. Those of averaged weights are a line of their own.
function evaluationCharts(runs) {
  const single = runs.length === 1, out = [];
  const sets = [...new Set(runs.flatMap((run) => run.evaluations.map((row) => row.set)))];
  const over = (run, set, metric, averaged = false) => {
    const at = new Map();
    for (const row of run.evaluations) {
      if (AVERAGED.test(row.checkpoint) !== averaged) continue;
      // min-loss repeats an epoch that has its own row, or is between evaluations: both are true.
      if (row.set === set && row.metric === metric && finite(row.epoch)) at.set(row.epoch, row);
    }
    const rows = [...at.values()].sort((a, b) => a.epoch - b.epoch);
    const y = rows.map((row) => value(row.value)), std = rows.map((row) => value(row.std));
    const band = std.some(finite) && metric === "accuracy"
      ? { spread: true, low: y.map((v, n) => (finite(std[n]) ? v - std[n] : null)), high: y.map((v, n) => (finite(std[n]) ? v + std[n] : null)) } : {};
    return { x: rows.map((row) => row.epoch), y, ...band };
  };
  for (const set of sets) {
    const metrics = metricNames(runs.flatMap(finalScores).filter((s) => s.name === set)).filter((m) => m !== "threshold" && !m.startsWith("far@"));
    const make = (title, unit, lines, note) => {
      const drawn = lines.filter((l) => l.x.length);
      if (drawn.some((l) => l.x.length > 1)) out.push(chart({ title, unit, x: "epoch", lines: drawn.map(withOdd), wholeX: true, note, show: fixed }));
    };
    if (single) {
      make(`${set}: accuracy`, "± std over folds", [
        { name: "accuracy", colour: 0, ...over(runs[0], set, "accuracy") },
        { name: "of the averaged weights", colour: 1, dash: 1, ...over(runs[0], set, "accuracy", true) },
      ], "Epoch 0 is the untrained network.");
      make(`${set}: other scores`, "fraction", metrics.filter((m) => m !== "accuracy").map((m, n) => ({ name: m, colour: n, dash: n % 3, ...over(runs[0], set, m) })));
    } else {
      for (const metric of metrics.filter((m) => METRIC_FIRST.includes(m) || m === "tar@far=1e-3")) {
        make(`${set}: ${metric}`, "fraction", runs.map((run, n) => ({ ...runLine(run, n), ...over(run, set, metric) })));
      }
    }
  }
  return out;
}

/// Curves over steps: every column of steps.csv.
function stepCharts(runs) {
  const with_ = runs.map((run, n) => [run, n]).filter(([run]) => run.steps);
  const names = [...new Set(with_.flatMap(([run]) => run.steps.columns.map((c) => c.name)))];
  return names.map((name) => {
    const lines = with_.map(([run, n]) => {
      const column = run.steps.columns.find((c) => c.name === name);
      if (!column) return null;
      return { ...runLine(run, n), ...(runs.length === 1 ? { name: nameOf(name) } : {}),
        x: run.steps.x, y: column.y.map(value), low: column.low, high: column.high,
        first: run.steps.every > 1 ? run.steps.first : undefined, epoch: run.steps.epoch,
        odd: column.odd, oddCount: column.odd_count };
    }).filter((line) => line && (known(line.y) || line.oddCount));
    if (!lines.length) return null;
    const when = (x, line, n) => {
      const span = line.first && line.first[n] < line.x[n] ? `steps ${group(line.first[n])} to ${group(line.x[n])}` : `step ${group(line.x[n])}`;
      return runs.length === 1 && line.epoch && finite(line.epoch[n]) ? `${span}, epoch ${line.epoch[n]}` : span;
    };
    return chart({ title: nameOf(name), unit: UNITS[name], x: "step", lines, when, logY: LOGGED.test(name) && "able" });
  }).filter(Boolean);
}
/// How the curves over steps were thinned, in words.
function thinning(runs) {
  const thinned = runs.filter((run) => run.steps && run.steps.every > 1);
  if (!thinned.length) return "Every step is drawn as it was recorded.";
  const say = (run) => `${runs.length > 1 ? `${run.label}: ` : ""}${group(run.steps.rows)} steps in groups of ${run.steps.every}`;
  return `Curves are thinned to at most ${group(runs[0].points || data.points)} points: ${thinned.map(say).join("; ")}. The line is the mean of a group's finite values, the band around it reaches from its least to its greatest value; values are kept to 7 digits.`;
}

function curves(runs) {
  const epochs = epochCharts(runs), evaluations = evaluationCharts(runs), steps = stepCharts(runs);
  const none = [];
  if (!epochs.length) none.push(h("p", { class: "soft" }, "No epoch yet: curves over epochs appear when the first one ends."));
  if (!steps.length) none.push(h("p", { class: "soft" }, "No step yet."));
  return [
    ...none, runLegend(runs),
    epochs.length || evaluations.length ? h("div", { class: "block" }, h("h3", {}, "Over epochs"), h("div", { class: "grid" }, epochs, evaluations)) : null,
    steps.length ? h("div", { class: "block" }, h("h3", {}, "Over steps"), h("div", { class: "grid" }, steps), h("p", { class: "note" }, thinning(runs))) : null,
  ];
}

/// Of several runs: one legend that switches a run in every chart.
function runLegend(runs) {
  if (runs.length < 2) return null;
  return h("div", { class: "runs" }, h("ul", { class: "legend", "aria-label": "Runs in the charts" }, runs.map((run, n) => {
    const button = h("button", { type: "button", "aria-pressed": "true" },
      h("span", { class: `swatch c${n % 8} d${Math.floor(n / 8) % 3}` }), run.label, run.diff && h("span", { class: "diff" }, run.diff));
    button.addEventListener("click", () => {
      const shown = hiddenRuns.delete(run);
      if (!shown) hiddenRuns.add(run);
      button.setAttribute("aria-pressed", String(shown));
      redrawAll();
    });
    return h("li", {}, button);
  })));
}
