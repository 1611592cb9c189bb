// Lines over numbers, drawn as SVG: dose curves, losses step by step. Names become text nodes.

const SPACE = "http://www.w3.org/2000/svg";
const EDGE = { left: 52, right: 14, top: 26, bottom: 38 };
const COLOURS = ["--latw-orange", "--latw-blue", "--latw-teal", "--latw-purple", "--latw-muted"];
const DASHES = ["", "6 4", "2 3", "8 3 2 3", "12 4"];

function add(parent, tag, attributes, text) {
  const made = document.createElementNS(SPACE, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}

function reach(values, fixed) {
  if (fixed.length === 2) return fixed;
  const known = values.filter((v) => Number.isFinite(v));
  const [low, high] = [Math.min(...known), Math.max(...known)];
  return known.length === 0 ? [0, 1] : low === high ? [low - 0.5, high + 0.5] : [low, high];
}

function ticks([low, high]) {
  const rough = (high - low) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((k) => k * power).find((s) => s >= rough);
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, i) => (first + i) * step);
}

const said = (value) => String(Number(value.toPrecision(4)));

function render({ model, el }) {
  const picture = document.createElementNS(SPACE, "svg");
  picture.setAttribute("role", "img");
  picture.setAttribute("class", "latw-lines");
  el.append(picture);

  function draw() {
    const series = model.get("series");
    picture.replaceChildren();
    picture.setAttribute("aria-label", model.get("label"));
    picture.style.display = series.length ? "" : "none";
    if (!series.length) return;
    const [wide, high] = [model.get("wide"), model.get("high")];
    picture.setAttribute("viewBox", `0 0 ${wide} ${high}`);
    picture.setAttribute("width", wide);
    picture.setAttribute("height", high);
    const across = reach(series.flatMap((s) => s.x), []);
    const up = reach(series.flatMap((s) => s.y), model.get("reach"));
    const x = (v) => EDGE.left + ((v - across[0]) / (across[1] - across[0])) * (wide - EDGE.left - EDGE.right);
    const y = (v) => high - EDGE.bottom - ((v - up[0]) / (up[1] - up[0])) * (high - EDGE.top - EDGE.bottom);
    for (const v of ticks(up)) {
      add(picture, "line", { x1: EDGE.left, x2: wide - EDGE.right, y1: y(v), y2: y(v), stroke: "var(--latw-line)" });
      add(picture, "text", { x: EDGE.left - 7, y: y(v) + 4, "text-anchor": "end", class: "latw-tick" }, said(v));
    }
    for (const v of ticks(across)) {
      add(picture, "text", { x: x(v), y: high - EDGE.bottom + 16, "text-anchor": "middle", class: "latw-tick" }, said(v));
    }
    const middle = (EDGE.left + wide - EDGE.right) / 2;
    add(picture, "text", { x: middle, y: high - 6, "text-anchor": "middle", class: "latw-tick" }, model.get("x_name"));
    let at = EDGE.left;
    series.forEach((one, i) => {
      const stroke = `var(${COLOURS[i % COLOURS.length]})`;
      const style = { stroke, "stroke-width": 2, "stroke-dasharray": DASHES[i % DASHES.length], fill: "none" };
      const points = one.x.map((v, k) => [v, one.y[k]]).filter(([, v]) => v !== null && Number.isFinite(v));
      add(picture, "polyline", { ...style, points: points.map(([a, b]) => `${x(a)},${y(b)}`).join(" ") });
      if (points.length <= 40) {
        for (const [a, b] of points) {
          const dot = add(picture, "circle", { cx: x(a), cy: y(b), r: 3, fill: stroke });
          add(dot, "title", {}, `${one.name}: ${said(a)}, ${said(b)}`);
        }
      }
      add(picture, "line", { ...style, x1: at, x2: at + 22, y1: 12, y2: 12 });
      const name = add(picture, "text", { x: at + 28, y: 16, class: "latw-tick" }, one.name);
      at += 44 + (name.getComputedTextLength() || 7 * one.name.length);
    });
  }

  let waiting = false;
  const later = () => {
    if (waiting) return;
    waiting = true;
    queueMicrotask(() => {
      waiting = false;
      draw();
    });
  };
  draw();
  model.on("change", later);
  return () => model.off("change", later);
}

export default { render };
