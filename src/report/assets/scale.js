// Axes: where values lie and which are written.

/// Round steps of 1, 2 or 5 times a power of ten, about `count` of them.
function linearTicks(low, high, count) {
  const rough = (high - low) / Math.max(count, 1);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((m) => m * power >= rough * 0.999);
  const ticks = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9 && ticks.length < 50; n++) {
    ticks.push(Number((n * step).toPrecision(12)));
  }
  return ticks;
}

/// Powers of ten; where there are few, 2 and 5 between them; where there are many, fewer.
function logTicks(low, high) {
  const [first, last] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
  const every = Math.max(1, Math.ceil((last - first) / 7));
  const between = last - first <= 2 ? [1, 2, 5] : [1];
  const ticks = [];
  for (let power = first; power <= last; power += every) {
    for (const m of between) ticks.push(Number(`${m}e${power}`));
  }
  const inside = ticks.filter((t) => t >= low * 0.999 && t <= high * 1.001);
  return inside.length > 1 ? inside : linearTicks(low, high, 4);
}

/// Ticks as text, all with the decimals that the narrowest needs.
function tickLabels(ticks, log) {
  const size = Math.max(...ticks.map(Math.abs));
  if (log || size >= 1e7 || (size > 0 && size < 1e-3)) {
    return ticks.map((t) => (t !== 0 && (Math.abs(t) >= 1e7 || Math.abs(t) < 1e-3)
      ? minus(t.toExponential().replace("+", "")) : Number.isInteger(t) ? group(t) : minus(String(t))));
  }
  const decimals = Math.max(...ticks.map((t) => (String(t).split(".")[1] || "").length));
  return ticks.map((t) => (Number.isInteger(t) && decimals === 0 ? group(t) : minus(t.toFixed(decimals))));
}

/// Where a value lies between `from` and `to` (pixels), over the range of `values`.
function makeScale(values, from, to, options) {
  const { log, pad = 0, count = 5, range, whole } = options;
  let low = Infinity, high = -Infinity;
  for (const v of values) {
    if (!finite(v) || (log && v <= 0)) continue;
    if (v < low) low = v;
    if (v > high) high = v;
  }
  if (range && !log) [low, high] = range;
  if (low > high) [low, high] = log ? [0.1, 1] : [0, 1];
  if (low === high) {
    const by = log ? 1 : Math.abs(low) * 0.1 || 0.5;
    [low, high] = log ? [low / 2, high * 2] : [low - by, high + by];
  } else if (!range && pad && !log) {
    const by = (high - low) * pad;
    // Nothing below zero is suggested of what has nothing below zero.
    [low, high] = [low >= 0 && low - by < 0 ? 0 : low - by, high + by];
  }
  const forward = log ? Math.log10 : (v) => v;
  const [a, b] = [forward(low), forward(high)];
  const at = (v) => from + ((forward(v) - a) / (b - a)) * (to - from);
  let ticks = log ? logTicks(low, high) : linearTicks(low, high, count);
  if (whole) ticks = ticks.filter(Number.isInteger);
  return { at, ticks, labels: ticks.length ? tickLabels(ticks, log) : [], low, high, log };
}

/// The first place in a sorted list whose value is not below `v`.
function lowerBound(list, v) {
  let [from, to] = [0, list.length];
  while (from < to) {
    const middle = (from + to) >> 1;
    if (list[middle] < v) from = middle + 1; else to = middle;
  }
  return from;
}
