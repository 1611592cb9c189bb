// A heatmap on a canvas. Cells come as one float32 buffer; hover stays here, clicks and selections go to Python.

const GAP = { left: 64, right: 96, top: 16, bottom: 40 };
const STEPS = 255;
const ARROWS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

const number = (value) => (Number.isFinite(value) ? value.toFixed(3) : "not run");
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const isLight = () => document.body.dataset.jpThemeLight !== "false";

// A DataView that a message brought may begin anywhere; floats need a copy that begins at a multiple of four.
function floats(view) {
  const start = view.byteOffset;
  return new Float32Array(view.buffer.slice(start, start + view.byteLength));
}

function rgb(colour) {
  return [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));
}

// STEPS + 1 colours from the lowest to the highest, as [r, g, b].
function ramped(colours) {
  const known = colours.map(rgb);
  return Array.from({ length: STEPS + 1 }, (_, i) => {
    const at = (i / STEPS) * (known.length - 1);
    const low = Math.min(Math.floor(at), known.length - 2);
    return known[low].map((c, k) => Math.round(c + (known[low + 1][k] - c) * (at - low)));
  });
}

// Where columns or rows exceed pixels, each pixel shows, of its cells, the one furthest from the centre.
function pooled(cells, rows, columns, high, wide, centre) {
  if (high === rows && wide === columns) return cells;
  const found = new Float32Array(high * wide).fill(NaN);
  for (let r = 0; r < rows; r += 1) {
    const line = Math.floor((r * high) / rows) * wide;
    for (let c = 0; c < columns; c += 1) {
      const to = line + Math.floor((c * wide) / columns);
      const value = cells[r * columns + c];
      if (!(Math.abs(found[to] - centre) >= Math.abs(value - centre)) && !Number.isNaN(value)) found[to] = value;
    }
  }
  return found;
}

function painted(values, high, wide, model) {
  const light = isLight();
  const ramp = ramped(model.get(light ? "light" : "dark"));
  const missing = rgb(model.get("missing")[light ? 0 : 1]);
  const low = model.get("centre") - model.get("half");
  const scale = STEPS / (2 * model.get("half"));
  const image = new ImageData(wide, high);
  for (let i = 0; i < values.length; i += 1) {
    const colour = Number.isNaN(values[i]) ? missing : ramp[Math.round(clamp((values[i] - low) * scale, 0, STEPS))];
    image.data.set(colour, 4 * i);
    image.data[4 * i + 3] = 255;
  }
  const made = new OffscreenCanvas(wide, high);
  made.getContext("2d").putImageData(image, 0, 0);
  return made;
}

function render({ model, el }) {
  const canvas = document.createElement("canvas");
  const said = document.createElement("div");
  const notice = document.createElement("div");
  canvas.className = "latw-canvas";
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "application");
  canvas.setAttribute("data-lm-suppress-shortcuts", "true");
  said.className = "latw-note latw-said";
  said.setAttribute("aria-live", "polite");
  notice.className = "latw-note latw-hint";
  el.append(canvas, said, notice);
  const pen = canvas.getContext("2d");
  let cells = new Float32Array(0);
  let image = null;
  let cursor = null;
  let from = null;
  let drawn = 0;
  let prepared = 0;

  const shape = () => ({ rows: model.get("rows"), columns: model.get("columns") });
  const box = () => {
    const { rows } = shape();
    const high = clamp(rows * (model.get("square") ? 14 : 22), 44, 360);
    const room = Math.max((el.clientWidth || 800) - GAP.left - GAP.right, 120);
    return { x: GAP.left, y: GAP.top, wide: model.get("square") ? Math.min(room, high * 1.6) : room, high };
  };

  function prepare() {
    const { rows, columns } = shape();
    cells = floats(model.get("cells"));
    prepared += 1;
    const { wide, high } = box();
    const sharp = window.devicePixelRatio || 1;
    const across = Math.min(columns, Math.floor(wide * sharp));
    const down = Math.min(rows, Math.floor(high * sharp));
    image = null;
    if (cells.length !== rows * columns || !cells.length) return;
    image = painted(pooled(cells, rows, columns, down, across, model.get("centre")), down, across, model);
    const each = Math.ceil(columns / across) * Math.ceil(rows / down);
    notice.textContent =
      each > 1 ? `${rows} x ${columns} cells on fewer pixels: each shows, of up to ${each}, the one furthest from the middle colour.` : "";
  }

  function size() {
    const { wide, high } = box();
    const sharp = window.devicePixelRatio || 1;
    const [w, h] = [wide + GAP.left + GAP.right, high + GAP.top + GAP.bottom];
    canvas.style.width = `${w}px`;
    canvas.style.height = `${h}px`;
    if (canvas.width !== Math.round(w * sharp)) canvas.width = Math.round(w * sharp);
    if (canvas.height !== Math.round(h * sharp)) canvas.height = Math.round(h * sharp);
    pen.setTransform(sharp, 0, 0, sharp, 0, 0);
    pen.clearRect(0, 0, w, h);
  }

  function ticks(labels, room, each) {
    const step = Math.max(1, Math.ceil((labels.length * each) / room));
    return labels.map((text, i) => [text, i]).filter(([, i]) => i % step === 0);
  }

  function axes({ x, y, wide, high }) {
    const style = getComputedStyle(el);
    const { rows, columns } = shape();
    pen.fillStyle = style.color;
    pen.globalAlpha = 0.75;
    pen.font = `11px ${style.fontFamily}`;
    pen.textBaseline = "middle";
    pen.textAlign = "right";
    for (const [text, i] of ticks(model.get("row_labels"), high, 15)) {
      pen.fillText(text.slice(0, 12), x - 6, y + ((i + 0.5) * high) / rows, GAP.left - 18);
    }
    pen.textAlign = "center";
    for (const [text, i] of ticks(model.get("column_labels"), wide, 44)) {
      pen.fillText(text.slice(0, 12), x + ((i + 0.5) * wide) / columns, y + high + 11);
    }
    pen.fillText(model.get("column_name"), x + wide / 2, y + high + 29);
    pen.save();
    pen.translate(9, y + high / 2);
    pen.rotate(-Math.PI / 2);
    pen.fillText(model.get("row_name"), 0, 0);
    pen.restore();
    bar(x + wide + 14, y, high);
    pen.globalAlpha = 1;
  }

  function bar(x, y, high) {
    const ramp = pen.createLinearGradient(0, y + high, 0, y);
    const colours = model.get(isLight() ? "light" : "dark");
    colours.forEach((colour, i) => ramp.addColorStop(i / (colours.length - 1), colour));
    const ink = pen.fillStyle;
    pen.globalAlpha = 1;
    pen.fillStyle = ramp;
    pen.fillRect(x, y, 10, high);
    pen.fillStyle = ink;
    pen.globalAlpha = 0.75;
    pen.textAlign = "left";
    const [centre, half] = [model.get("centre"), model.get("half")];
    pen.fillText((centre + half).toFixed(2), x + 15, y + 5);
    const name = high > 90 ? model.get("centre_name") : "";
    pen.fillText(centre.toFixed(2), x + 15, y + high / 2 - (name ? 7 : 0));
    pen.fillText(name, x + 15, y + high / 2 + 7);
    pen.fillText((centre - half).toFixed(2), x + 15, y + high - 5);
  }

  function outline({ x, y, wide, high }, a, b, colour, thick) {
    const { rows, columns } = shape();
    const [top, left] = [Math.min(a[0], b[0]), Math.min(a[1], b[1])];
    const [w, h] = [(Math.abs(a[1] - b[1]) + 1) * (wide / columns), (Math.abs(a[0] - b[0]) + 1) * (high / rows)];
    pen.strokeStyle = colour;
    pen.lineWidth = thick;
    const wider = Math.max(w, 5);
    pen.strokeRect(x + (left * wide) / columns - (wider - w) / 2, y + (top * high) / rows, wider, h);
  }

  function draw() {
    size();
    if (image === null) return;
    const at = box();
    const style = getComputedStyle(el);
    pen.imageSmoothingEnabled = false;
    pen.drawImage(image, at.x, at.y, at.wide, at.high);
    axes(at);
    pen.fillStyle = style.getPropertyValue("--latw-blue") || "#2368b0";
    const { columns } = shape();
    for (const column of model.get("picked")) {
      const middle = at.x + ((column + 0.5) * at.wide) / columns;
      pen.beginPath();
      pen.moveTo(middle, at.y - 3);
      pen.lineTo(middle - 5, at.y - 12);
      pen.lineTo(middle + 5, at.y - 12);
      pen.fill();
    }
    for (const mark of model.get("marked")) outline(at, mark, mark, style.color, 2.5);
    if (cursor) outline(at, from ?? cursor, cursor, style.color, 1.25);
    drawn += 1;
    canvas.dataset.drawn = `${prepared}/${drawn}`;
  }

  function cellAt(event) {
    const at = box();
    const { rows, columns } = shape();
    const edge = canvas.getBoundingClientRect();
    const row = Math.floor(((event.clientY - edge.top - at.y) / at.high) * rows);
    const column = Math.floor(((event.clientX - edge.left - at.x) / at.wide) * columns);
    if (from !== null) return [clamp(row, 0, rows - 1), clamp(column, 0, columns - 1)];
    return row < 0 || column < 0 || row >= rows || column >= columns ? null : [row, column];
  }

  function tell() {
    if (!cursor) {
      said.textContent = model.get("hint");
      return;
    }
    const [row, column] = cursor;
    const value = cells[row * shape().columns + column];
    const over = value - model.get("centre");
    const named = model.get("centre_name");
    const change = named && Number.isFinite(over) ? ` (${over < 0 ? "" : "+"}${over.toFixed(3)} from ${named})` : "";
    said.textContent =
      `${model.get("column_name")} ${model.get("column_labels")[column]} \u00b7 ` +
      `${model.get("row_name")} ${model.get("row_labels")[row]} \u00b7 ${model.get("value_name")} ${number(value)}${change}`;
  }

  function move(to) {
    if (String(to) === String(cursor)) return;
    cursor = to;
    tell();
    draw();
  }

  function act() {
    const [a, b] = [from ?? cursor, cursor];
    from = null;
    if (b === null) return;
    if (String(a) === String(b)) model.send({ kind: "click", row: b[0], column: b[1] });
    else {
      const pair = (i) => [Math.min(a[i], b[i]), Math.max(a[i], b[i])];
      model.send({ kind: "select", rows: pair(0), columns: pair(1) });
    }
    draw();
  }

  canvas.addEventListener("pointermove", (event) => move(cellAt(event)));
  canvas.addEventListener("pointerleave", () => from === null && move(null));
  canvas.addEventListener("pointerdown", (event) => {
    if (!image) return;
    cursor = cellAt(event);
    from = cursor;
    canvas.setPointerCapture(event.pointerId);
    canvas.focus({ preventScroll: true });
  });
  canvas.addEventListener("pointerup", act);
  canvas.addEventListener("keydown", (event) => {
    const by = ARROWS[event.key];
    if (!image || (!by && event.key !== "Enter" && event.key !== " ")) return;
    event.preventDefault();
    event.stopPropagation();
    if (!by) return act();
    const { rows, columns } = shape();
    const now = cursor ?? [0, -by[1]];
    if (event.shiftKey) from ??= now;
    else from = null;
    move([clamp(now[0] + by[0], 0, rows - 1), clamp(now[1] + by[1], 0, columns - 1)]);
  });

  let waiting = false;
  let stale = false;
  const later = (again) => {
    stale ||= again;
    if (waiting) return;
    waiting = true;
    queueMicrotask(() => {
      if (stale) prepare();
      waiting = stale = false;
      canvas.setAttribute("aria-label", model.get("label"));
      tell();
      draw();
    });
  };
  const anew = () => later(true);
  const again = () => later(false);
  const data = "change:cells change:rows change:columns change:centre change:half change:square";
  model.on(data, anew);
  model.on("change:marked change:picked change:hint change:row_labels change:column_labels", again);
  const sized = new ResizeObserver(anew);
  sized.observe(el);
  const theme = new MutationObserver(anew);
  theme.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
  anew();
  return () => {
    model.off(data, anew);
    model.off("change:marked change:picked change:hint change:row_labels change:column_labels", again);
    sized.disconnect();
    theme.disconnect();
  };
}

export default { render };
