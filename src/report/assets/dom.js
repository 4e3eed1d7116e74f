// Elements, texts and numbers. Every text goes through text nodes and attributes, never markup.
const data = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";
let ids = 0;
const id = (prefix) => `${prefix}-${++ids}`;

function build(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((c) => c !== null && c !== undefined && c !== false));
  return element;
}
const h = (tag, attributes, ...children) => build(document.createElement(tag), attributes, children);
const s = (tag, attributes, ...children) =>
  build(document.createElementNS(SVG, tag), attributes, children);

/// Says something to who does not see the page.
let saying;
function say(text) {
  clearTimeout(saying);
  saying = setTimeout(() => { document.getElementById("live").textContent = text; }, 40);
}

/// A number of the data: NaN and infinities come as text.
const WORDS = { NaN: NaN, inf: Infinity, "-inf": -Infinity };
const value = (v) => (typeof v === "string" && v in WORDS ? WORDS[v] : v);
const finite = (v) => typeof v === "number" && Number.isFinite(v);

/// Five significant digits, as short as they can be.
function number(v) {
  v = value(v);
  if (v === null || v === undefined) return "–";
  if (typeof v !== "number") return String(v);
  if (Number.isNaN(v)) return "NaN";
  if (!Number.isFinite(v)) return v > 0 ? "∞" : "−∞";
  if (v === 0) return "0";
  const size = Math.abs(v);
  if (Number.isInteger(v) && size < 1e9) return group(v);
  if (size >= 1e6 || size < 1e-3) {
    const [mantissa, power] = v.toExponential(3).split("e");
    return `${minus(String(Number(mantissa)))}e${minus(power.replace("+", ""))}`;
  }
  return minus(String(Number(v.toPrecision(5))));
}
const minus = (text) => text.replace("-", "−");
const group = (v) => minus(String(v).replace(/\B(?=(\d{3})+$)/g, "\u202f"));
/// Four decimals, for columns of fractions and losses.
function fixed(v) {
  v = value(v);
  if (!finite(v)) return number(v);
  return Math.abs(v) >= 1e5 || (v !== 0 && Math.abs(v) < 1e-4) ? number(v) : minus(v.toFixed(4));
}

function duration(seconds) {
  if (!finite(seconds)) return "–";
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds), pad = (n) => String(n).padStart(2, "0");
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return hours ? `${hours} h ${pad(minutes)} m` : `${minutes} m ${pad(whole % 60)} s`;
}
/// A timestamp to the second, as it is in the record: UTC.
const moment = (text) => (text ? text.slice(0, 19).replace("T", " ") + " UTC" : "–");
const plural = (n, what) => `${group(n)} ${what}${n === 1 ? "" : "s"}`;

/// Whether a smaller value of the metric is the better one.
const lowerIsBetter = (name) => /loss|eer|far@|error|seconds|std/.test(name);

/// A button that is on or off.
function toggle(label, on, change) {
  const button = h("button", { type: "button", class: "plain", "aria-pressed": String(on) }, label);
  button.addEventListener("click", () => {
    on = !on;
    button.setAttribute("aria-pressed", String(on));
    change(on);
  });
  return button;
}

/// What is drawn again when the theme, the width or the choice of runs changes.
const drawings = new Set();
function drawn(element, draw) {
  let width = -1;
  const drawing = { element, draw };
  drawings.add(drawing);
  new ResizeObserver(() => {
    if (Math.abs(element.clientWidth - width) < 1) return;
    width = element.clientWidth;
    requestAnimationFrame(draw);
  }).observe(element);
}
function redrawAll() {
  for (const drawing of drawings) {
    if (drawing.element.isConnected) drawing.draw(); else drawings.delete(drawing);
  }
}

const section = (title, ...children) => {
  const name = id("section");
  return h("section", { "aria-labelledby": name }, h("h2", { id: name }, title), ...children);
};
const facts = (entries) => h("dl", { class: "facts" }, entries.filter(Boolean)
  .flatMap(([name, ...what]) => [h("dt", {}, name), h("dd", {}, ...what)]));
