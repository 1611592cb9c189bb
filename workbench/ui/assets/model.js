// The model as layers of hook points. Each is a button: mouse, arrow keys, Enter; Ctrl or Shift adds to the selection.

const GROUPS = ["stream", "attention", "MLP", "norms"];

function made(tag, kind, text = "") {
  const element = document.createElement(tag);
  element.className = kind;
  element.textContent = text;
  return element;
}

function render({ model, el }) {
  const around = made("div", "latw-model");
  const said = made("div", "latw-note latw-said latw-hint");
  around.setAttribute("role", "group");
  around.setAttribute("aria-label", "layers and hook points of the model");
  around.setAttribute("data-lm-suppress-shortcuts", "true");
  said.setAttribute("aria-live", "polite");
  el.append(around, said);

  const buttons = () => [...around.querySelectorAll("button")];

  function tell(text) {
    said.textContent = text ?? model.get("hint");
  }

  function pick(name, event) {
    model.send({ kind: "pick", site: name, add: event.ctrlKey || event.metaKey || event.shiftKey });
  }

  function point(site) {
    const button = made("button", "latw-point", site.label);
    button.type = "button";
    button.dataset.site = site.name;
    button.style.setProperty("--latw-share", String(site.share));
    button.title = site.name;
    button.addEventListener("click", (event) => pick(site.name, event));
    button.addEventListener("pointerenter", () => tell(site.about));
    button.addEventListener("focus", () => tell(site.about));
    return button;
  }

  function row(layer) {
    const line = made("div", "latw-layer");
    line.append(made("span", "latw-layer-name", layer.name));
    for (const group of GROUPS) {
      const inside = layer.sites.filter((site) => site.group === group && (site.main || model.get("every")));
      if (!inside.length) continue;
      const box = made("span", `latw-group latw-group-${group}`);
      box.append(made("span", "latw-group-name", group), ...inside.map(point));
      line.append(box);
    }
    return line;
  }

  function mark() {
    const chosen = new Set(model.get("chosen"));
    const all = buttons();
    all.forEach((button) => {
      const on = chosen.has(button.dataset.site);
      button.classList.toggle("latw-chosen", on);
      button.setAttribute("aria-pressed", String(on));
      button.tabIndex = -1;
    });
    const first = all.find((button) => button.classList.contains("latw-chosen")) ?? all[0];
    if (first) first.tabIndex = 0;
  }

  function draw() {
    around.replaceChildren(...model.get("layers").map(row).filter((line) => line.querySelector("button")).reverse());
    mark();
    tell();
  }

  // The nearest button in the direction of an arrow: along a row, or in the row above or below.
  function beside(button, key) {
    const line = button.closest(".latw-layer");
    if (key === "ArrowLeft" || key === "ArrowRight") {
      const all = [...line.querySelectorAll("button")];
      return all[all.indexOf(button) + (key === "ArrowRight" ? 1 : -1)];
    }
    let other = line;
    do other = key === "ArrowUp" ? other.previousElementSibling : other.nextElementSibling;
    while (other && !other.querySelector("button"));
    const middle = (b) => b.offsetLeft + b.offsetWidth / 2;
    const near = other ? [...other.querySelectorAll("button")] : [];
    return near.sort((a, b) => Math.abs(middle(a) - middle(button)) - Math.abs(middle(b) - middle(button)))[0];
  }

  around.addEventListener("keydown", (event) => {
    if (!event.key.startsWith("Arrow") || !(event.target instanceof HTMLButtonElement)) return;
    event.preventDefault();
    event.stopPropagation();
    const next = beside(event.target, event.key);
    if (!next) return;
    next.tabIndex = 0;
    next.focus();
  });
  around.addEventListener("pointerleave", () => tell());

  draw();
  model.on("change:layers change:every", draw);
  model.on("change:chosen", mark);
  return () => {
    model.off("change:layers change:every", draw);
    model.off("change:chosen", mark);
  };
}

export default { render };
