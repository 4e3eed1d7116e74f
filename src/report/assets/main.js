// Puts the page together.

/// Keys whose values differ between the runs: [{key, values}].
function differences(runs) {
  const maps = runs.map((run) => new Map(run.settings.map((setting) => [setting.key, setting.value])));
  const keys = [...new Set(runs.flatMap((run) => run.settings.map((setting) => setting.key)))];
  return keys.map((key) => ({ key, values: maps.map((map) => map.get(key)) }))
    .filter(({ values }) => new Set(values).size > 1);
}

function name(runs) {
  const names = new Set(runs.map((run) => run.info.experiment));
  const different = differences(runs);
  runs.forEach((run, n) => {
    run.several = runs.length > 1;
    run.label = run.trial ? run.trial : names.size > 1 ? `${run.info.experiment} ${run.info.run}` : run.info.run;
    // What only one kind of part has follows from the kind: a few keys that all runs have, kinds first.
    const own = different.filter(({ key, values }) => !/^(name$|paths\.)/.test(key) && !values.includes(undefined));
    own.sort((a, b) => b.key.endsWith(".kind") - a.key.endsWith(".kind"));
    const text = own.slice(0, 4).map(({ key, values }) => `${key} ${values[n].replace(/^"(.*)"$/, "$1")}`).join(", ");
    run.diff = text.length > 90 ? `${text.slice(0, 89)}…` : text;
  });
  const seen = new Map();
  for (const run of runs) {
    const count = (seen.get(run.label) || 0) + 1;
    seen.set(run.label, count);
    if (count > 1) run.label += ` (${count})`;
  }
  return different;
}

/// One row for each run, any column sorts.
function comparison(runs) {
  const scores = runs.map(finalScores);
  const last = (run, column) => lastOf(columnOf(run.epochs, column)) ?? null;
  const at = (run) => (run.best ? run.best.value : null);
  // A loss of another kind, scale or margin is another quantity: none of them is the best.
  const losses = runs.map((run) => JSON.stringify(run.settings.filter((setting) => setting.key.startsWith("loss."))));
  const oneLoss = new Set(losses).size === 1 && new Set(runs.map((run) => run.best && run.best.column)).size === 1;
  const columns = [
    { name: "run", get: (run) => run.label, show: (v, run) => h("span", {}, h("span", { class: `swatch c${runs.indexOf(run) % 8} d${Math.floor(runs.indexOf(run) / 8) % 3}` }), " ", v) },
    { name: "differs in", wide: true, get: (run) => run.diff || "–", show: (v) => v },
    { name: "status", get: statusOf, show: (_, run) => state(run) },
    { name: "epochs", numeric: true, get: (run) => (run.epochs ? run.epochs.x.length : 0) },
    { name: "best epoch", numeric: true, get: (run) => (run.best ? run.best.epoch : null) },
    { name: "least loss", numeric: true, better: oneLoss && "low", get: at, show: fixed },
    ...["train_loss", "val_loss", "train_accuracy", "val_accuracy"].map((column) => ({
      name: column, numeric: true, better: column.endsWith("loss") ? oneLoss && "low" : "high", get: (run) => last(run, column), show: fixed })),
  ];
  const sets = [...new Set(scores.flat().map((set) => set.name))];
  for (const set of sets) {
    for (const metric of metricNames(scores.flat().filter((s) => s.name === set))) {
      const entry = (run) => {
        const own = scores[runs.indexOf(run)].find((s) => s.name === set);
        return own && own.best && own.best.metrics.get(metric);
      };
      columns.push({ name: `${set} ${metric}`, numeric: true, better: metric === "threshold" ? null : lowerIsBetter(metric) ? "low" : "high",
        get: (run) => (entry(run) ? entry(run).value : null),
        show: (v, run) => h("span", {}, fixed(v), entry(run) && finite(entry(run).std) && h("small", {}, ` ± ${fixed(entry(run).std)}`)) });
    }
  }
  columns.push(
    { name: "images/s", numeric: true, better: "high", get: (run) => last(run, "images_per_second"), show: (v) => (finite(v) ? number(Math.round(v)) : number(v)) },
    { name: "duration", numeric: true, better: "low", get: (run) => run.info.seconds.total ?? null, show: duration },
    { name: "parameters", numeric: true, get: (run) => run.info.parameters });
  const shown = columns.filter((c, n) => n < 4 || runs.some((run) => { const v = c.get(run); return v !== null && v !== undefined; }));
  return [
    sortable({ css: "runs-table", caption: "Runs; a column's head sorts by it, the best of a column is bold",
      columns: shown, rows: runs, cell: (run, column) => column.get(run) }).element,
    h("p", { class: "note" }, "Losses and accuracies are of the last epoch, scores of min-loss (else latest).",
      oneLoss ? "" : " The runs differ in their loss: its values are other quantities, and none is the best."),
  ];
}

function oneRun(run) {
  const parts = [["Summary", headline(run)]];
  const scored = scoreTables(run);
  if (scored.length) parts.push(["Scores", scored]);
  parts.push(["Curves", curves([run])]);
  if (run.scores.length) parts.push(["ROC and distances", scoreCharts([run])]);
  if (run.pairs.length) parts.push(["Pairs", pairViews(run)]);
  if (run.embeddings && run.embeddings.epochs.length) parts.push(["Embeddings", [embeddingView(run.embeddings)]]);
  parts.push(["Configuration", [configuration(run)]], ["Environment", [h("div", { class: "card" }, environment(run))]]);
  return parts;
}

function severalRuns(runs) {
  const different = name(runs);
  const parts = [["Summary", [h("div", { class: "head" }, h("h1", {}, data.title)),
    ...runs.map((run) => problemBox(run.problems, `Parts of the record of ${run.label} are missing or damaged`)), ...comparison(runs)]]];
  parts.push(["Differences", [different.length
    ? plainTable({ caption: "Keys of the configuration that differ between the runs", head: ["key", ...runs.map((run) => run.label)],
      rows: different.map(({ key, values }) => ({ cells: [h("span", { class: "mono" }, key), ...values.map((v) => h("span", { class: "mono" }, v ?? "–"))] })) })
    : h("p", { class: "soft" }, "The configurations are equal.")]]);
  parts.push(["Curves", curves(runs)]);
  if (runs.some((run) => run.scores.length)) parts.push(["ROC and distances", scoreCharts(runs)]);
  const views = runs.filter((run) => run.embeddings && run.embeddings.epochs.length);
  if (views.length) parts.push(["Embeddings", [h("div", { class: "grid two" }, views.map((run) => h("div", {}, h("p", { class: "soft" }, run.label), embeddingView(run.embeddings))))]]);
  parts.push(["Each run", runs.map((run) => h("details", { class: "block" }, h("summary", {}, run.label, " ", h("span", { class: "soft" }, run.diff)),
    h("div", { class: "card" }, environment(run)), scoreTables(run), configuration(run)))]);
  return parts;
}

function theme() {
  const button = document.getElementById("theme"), root = document.documentElement;
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches);
  const label = () => { button.textContent = dark() ? "Light theme" : "Dark theme"; };
  button.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; label(); redrawAll(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { label(); redrawAll(); });
  label();
}

const parts = [];
data.sweeps.forEach((sweep, n) => {
  const head = n === 0 && !data.runs.length ? [h("div", { class: "head" }, h("h1", {}, data.title), h("p", { class: "sub mono" }, sweep.folder))] : [];
  parts.push([head.length ? "Sweep" : `Sweep ${sweep.folder}`, [...head, ...sweepView(sweep)]]);
  if (sweep.runs.length) { name(sweep.runs); parts.push(["Curves of the best trials", curves(sweep.runs)]); }
});
if (data.runs.length === 1) { name(data.runs); parts.push(...oneRun(data.runs[0])); }
if (data.runs.length > 1) parts.push(...severalRuns(data.runs));

const main = document.getElementById("main"), nav = document.getElementById("nav");
parts.forEach(([title, children], n) => {
  // The first part has the page's own heading.
  const part = children.some((c) => c && c.querySelector && c.querySelector("h1")) ? h("section", { "aria-label": title }, ...children) : section(title, ...children);
  part.id = `part-${n + 1}`;
  main.append(part);
  nav.append(h("a", { href: `#part-${n + 1}` }, title));
});
theme();
window.addEventListener("beforeprint", redrawAll);
const size = document.getElementById("data").textContent.length;
document.getElementById("footer").append(h("p", {}, `arcrun ${data.version}, report of ${moment(data.generated)}. `,
  `One file with ${(size / 1e6).toFixed(2)} MB of data; nothing is loaded from anywhere. Times are UTC; –: not measured.`));
