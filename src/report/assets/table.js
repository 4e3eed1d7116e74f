// Tables: sorted by a click or a key on a column's head.

/// A scrollable table. `columns` [{name, numeric, show(value, row), sort(row), better}], `rows` any
/// objects; `cell(row, column)` is the value, `sort` what the order goes by, else the value.
function sortable({ caption, columns, rows, cell, rowClass, css: tableClass }) {
  const body = h("tbody");
  const heads = [];
  let sorted = null, rising = true, keep = () => true;
  const key = (row, column) => value(column.sort ? column.sort(row) : cell(row, column));
  const missing = (v) => v === null || v === undefined || v === "" || (typeof v === "number" && Number.isNaN(v));
  const best = new Map(columns.filter((c) => c.better).map((column) => {
    const known = rows.map((row) => key(row, column)).filter(finite);
    const top = column.better === "low" ? Math.min(...known) : Math.max(...known);
    return [column, new Set(known).size > 1 ? top : null];
  }));

  function fill() {
    const order = [...rows];
    // What is missing or not a number comes last, whichever way the rest goes.
    if (sorted) order.sort((a, b) => {
      const [x, y] = [key(a, sorted), key(b, sorted)];
      if (missing(x) || missing(y)) return missing(x) - missing(y);
      const by = typeof x === "number" && typeof y === "number" ? x - y || 0 : String(x).localeCompare(String(y), "en", { numeric: true });
      return rising ? by : -by;
    });
    body.replaceChildren(...order.filter(keep).map((row) => h("tr", { class: rowClass && rowClass(row) },
      columns.map((column, n) => {
        const v = cell(row, column);
        const shown = column.show ? column.show(v, row) : number(v);
        const top = best.get(column), isBest = finite(top) && key(row, column) === top;
        const css = [column.numeric ? "n" : column.wide ? "text" : "", isBest ? "best" : ""].join(" ").trim();
        return n === 0 ? h("th", { scope: "row" }, shown)
          : h("td", { class: css || null }, shown, isBest && h("span", { class: "unseen" }, " (best)"));
      }))));
  }
  function sort(column) {
    // Numbers that are better when they are high start with the highest.
    rising = sorted === column ? !rising : column.better !== "high";
    sorted = column;
    heads.forEach((head, n) => {
      if (columns[n] === column) head.setAttribute("aria-sort", rising ? "ascending" : "descending");
      else head.removeAttribute("aria-sort");
    });
    fill();
    say(`sorted by ${column.name}, ${rising ? "ascending" : "descending"}`);
  }
  for (const column of columns) {
    const head = h("th", { scope: "col", class: column.numeric ? "n" : null });
    head.append(h("button", { type: "button", onclick: () => sort(column) }, column.name));
    heads.push(head);
  }
  const table = h("table", { class: tableClass }, h("caption", {}, h("span", {}, caption)), h("thead", {}, h("tr", {}, heads)), body);
  fill();
  const element = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, table);
  return { element, filter(test) { keep = test; fill(); }, refill: fill };
}

/// A table that stays as it is: `rows` of cells, the first of each its head.
function plainTable({ caption, head, rows, numeric }) {
  const is = (n) => (numeric && n > 0 ? "n" : null);
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, h("table", {},
    h("caption", {}, h("span", {}, caption)),
    h("thead", {}, h("tr", {}, head.map((name, n) => h("th", { scope: "col", class: is(n) }, name)))),
    h("tbody", {}, rows.map(({ cells, css }) => h("tr", { class: css },
      cells.map((cell, n) => (n === 0 ? h("th", { scope: "row" }, cell) : h("td", { class: is(n) }, cell))))))));
}
