// What a run came to: headline, scores, configuration, environment.
const columnOf = (table, name) => {
  const column = table && table.columns.find((c) => c.name === name);
  return column ? (column.values || column.y).map(value) : [];
};
const lastOf = (values) => [...values].reverse().find((v) => v !== null && v !== undefined);
const statusOf = (run) => (run.killed ? "killed" : run.info.status);
const state = (run) => h("span", { class: `state ${statusOf(run)}` }, statusOf(run));
const METRIC_FIRST = ["accuracy", "auc", "eer"];

/// The last row of each checkpoint, set and metric: {set: {checkpoint: {epoch, metrics: {name: row}}}}.
function finalScores(run) {
  const sets = {};
  for (const row of run.evaluations) {
    const set = (sets[`s:${row.set}`] ||= { name: row.set, checkpoints: new Map() });
    const before = set.checkpoints.get(row.checkpoint);
    const same = before && before.epoch === row.epoch;
    const entry = same ? before : { checkpoint: row.checkpoint, epoch: row.epoch, metrics: new Map() };
    entry.metrics.set(row.metric, { value: value(row.value), std: value(row.std) });
    set.checkpoints.set(row.checkpoint, entry);
  }
  return Object.values(sets).map((set) => ({ ...set, best: preferred(set.checkpoints), untrained: set.checkpoints.get("untrained") }));
}
/// min-loss, else latest, else the newest epoch.
function preferred(checkpoints) {
  const trained = [...checkpoints.values()].filter((c) => c.checkpoint !== "untrained");
  const newest = trained.sort((a, b) => b.epoch - a.epoch)[0];
  return checkpoints.get("min-loss") || checkpoints.get("latest") || newest || checkpoints.get("untrained");
}
function metricNames(scores) {
  const all = new Set(scores.flatMap((s) => [...s.checkpoints.values()].flatMap((c) => [...c.metrics.keys()])));
  const rest = [...all].filter((name) => !METRIC_FIRST.includes(name) && name !== "accuracy_standard_error");
  return [...METRIC_FIRST.filter((name) => all.has(name)), ...rest];
}

function tile(name, shown, sub) {
  return h("div", { class: "tile" }, h("dt", {}, name), h("dd", { class: "value" }, shown), sub && h("dd", { class: "sub" }, sub));
}
function tiles(run) {
  const { epochs, best } = run;
  const at = (name) => (best && epochs ? columnOf(epochs, name)[best.at] : null);
  const last = (name) => lastOf(columnOf(epochs, name));
  const out = finalScores(run).filter((set) => set.best && set.best.metrics.has("accuracy")).map((set) => {
    const { value: v, std } = set.best.metrics.get("accuracy");
    const before = set.untrained && set.untrained.metrics.get("accuracy");
    return tile(`${set.name}: accuracy (${set.best.checkpoint})`,
      [fixed(v), finite(std) && h("small", {}, ` ± ${fixed(std)}`)],
      before && set.best !== set.untrained ? `untrained ${fixed(before.value)}` : "untrained network not scored");
  });
  if (!epochs) out.push(tile("Epochs", "no epoch yet", run.steps ? `${plural(run.steps.rows, "step")} so far` : "no step yet"));
  else {
    const of = best && (best.column === "val_loss" ? "validation" : "training");
    if (best) out.push(tile("Best epoch", [String(best.epoch), h("small", {}, ` of ${lastOf(epochs.x)}`)], `least ${of} loss ${fixed(best.value)}${finite(at("val_accuracy")) ? `, accuracy ${fixed(at("val_accuracy"))}` : ""}`));
    const pair = (what, word) => tile(`Final ${word}`, fixed(last(`val_${what}`) ?? last(`train_${what}`)),
      last(`val_${what}`) === undefined ? "training, no validation" : `validation; training ${fixed(last(`train_${what}`))}`);
    out.push(pair("loss", "loss"));
    if (last("train_accuracy") !== undefined || last("val_accuracy") !== undefined) out.push(pair("accuracy", "accuracy"));
  }
  const speed = last("images_per_second");
  out.push(tile("Duration", duration(run.info.seconds.total), finite(speed) ? `${number(Math.round(speed))} images/s in the last epoch` : null));
  out.push(tile("Parameters", group(run.info.parameters), "trainable"));
  return h("dl", { class: "tiles" }, out);
}

function problemBox(list, title) {
  if (!list.length) return null;
  return h("div", { class: "problems", role: "note" }, h("strong", {}, title), h("ul", {}, list.map((text) => h("li", {}, text))));
}

function headline(run) {
  const { info } = run;
  const killed = run.killed ? "No process holds the run any more: it was killed. What it wrote until then is shown." : null;
  const going = !run.killed && info.status === "running" ? "The run is still going; this is its record so far." : null;
  return [
    h("div", { class: "head" }, h("h1", {}, info.experiment || "run"),
      h("p", { class: "sub" }, state(run), " · ", h("span", { class: "mono" }, info.run), " · started ", moment(info.created), " · ", info.device || "device unknown"),
      info.note && h("p", {}, info.note), killed && h("p", {}, killed), going && h("p", {}, going)),
    problemBox(run.problems, "Parts of the record are missing or damaged"),
    tiles(run),
  ];
}

/// One table for each set: a row for each checkpoint, a column for each metric.
function scoreTables(run) {
  return finalScores(run).map((set) => {
    const names = metricNames([set]);
    const order = [...set.checkpoints.values()].sort((a, b) =>
      (a === set.untrained) - (b === set.untrained) || (b === set.best) - (a === set.best) || b.epoch - a.epoch);
    const rows = order.map((c) => ({ css: c === set.untrained ? "base" : null,
      cells: [c.checkpoint, String(c.epoch ?? "–"), ...names.map((name) => {
        const m = c.metrics.get(name);
        return m ? h("span", {}, fixed(m.value), finite(m.std) && h("small", {}, ` ± ${fixed(m.std)}`)) : "–";
      })] }));
    return plainTable({ caption: `Scores on ${set.name}; ± is the standard deviation over folds, threshold a squared distance`,
      head: ["checkpoint", "epoch", ...names], rows, numeric: true });
  });
}

/// Every key, what differs from the defaults marked.
function configuration(run) {
  const changed = (setting) => setting.default !== setting.value;
  const count = run.settings.filter(changed).length;
  const body = h("tbody");
  const fill = (all) => {
    let table = null;
    body.replaceChildren(...run.settings.filter((setting) => all || changed(setting)).flatMap((setting) => {
      const of = setting.key.includes(".") ? setting.key.slice(0, setting.key.indexOf(".")) : "";
      const head = of !== table && of ? [h("tr", { class: "group" }, h("th", { colspan: "3", scope: "rowgroup" }, of))] : [];
      table = of;
      return [...head, h("tr", { class: changed(setting) ? "changed" : null },
        h("th", { scope: "row", class: "mono" }, setting.key, changed(setting) && h("span", { class: "unseen" }, " (differs from the default)")),
        h("td", { class: "mono text" }, setting.value), h("td", { class: "mono text soft" }, setting.default ?? "–"))];
    }));
  };
  if (!run.settings.length) return h("p", { class: "soft" }, "No configuration was found.");
  fill(false);
  return h("div", {}, h("div", { class: "tools" },
    h("span", {}, `${count} of ${plural(run.settings.length, "key")} differ from the defaults`), toggle("Show all keys", false, fill)),
  h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Configuration" }, h("table", {},
    h("caption", {}, "Resolved configuration, as config.toml has it"),
    h("thead", {}, h("tr", {}, ["key", "value", "default"].map((name) => h("th", { scope: "col" }, name)))), body)));
}

function environment(run) {
  const { info } = run, mono = (text) => h("span", { class: "mono" }, text);
  const quote = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);
  return facts([
    ["Folder", mono(run.folder)],
    ["Command", h("pre", { class: "mono" }, info.command.map(quote).join(" "))],
    ["Status", statusOf(run), info.continued ? `, continued ${plural(info.continued, "time")}` : ""],
    ["Started", moment(info.created), info.continued ? `; this session ${moment(info.started)}` : ""],
    ["Ended", moment(info.ended)],
    ["Host", info.host || "–"], ["Platform", info.platform || "–"], ["Device", info.device || "–"],
    ["Threads", String(info.threads)], ["Seed", String(info.seed)],
    ["Git commit", info.git ? [mono(info.git.commit), info.git.dirty ? " with changes that were not committed" : ""] : "none"].flat(),
    ["Parent", ...(info.parent ? [mono(`${info.parent.run}, ${info.parent.checkpoint}`), " hash ", mono(info.parent.hash)] : ["none"])],
    ...Object.entries(info.versions).map(([name, version]) => [name, version]),
    ...Object.entries(info.data).map(([part, hash]) => [`Data: ${part}`, mono(hash)]),
  ]);
}
