// A table of results: rows are chosen by mouse or keyboard, controls stand beside scores. Data becomes text nodes.

const MOVES = { ArrowDown: 1, ArrowUp: -1 };

function cell(tag, text, number) {
  const made = document.createElement(tag);
  made.textContent = text;
  if (text.length > 24) made.title = text;
  if (number) made.className = "latw-number";
  if (tag === "th") made.scope = "col";
  return made;
}

function render({ model, el }) {
  const around = document.createElement("div");
  around.className = "latw-table";
  around.tabIndex = 0;
  around.setAttribute("role", "region");
  el.append(around);

  function choose(row) {
    const count = model.get("rows").length;
    if (count === 0) return;
    model.set("chosen", Math.min(Math.max(row, 0), count - 1));
    model.save_changes();
  }

  function mark() {
    const rows = around.querySelectorAll("tbody tr");
    rows.forEach((row, i) => {
      const chosen = i === model.get("chosen");
      row.classList.toggle("latw-chosen", chosen);
      row.setAttribute("aria-selected", String(chosen));
      if (chosen && around.contains(document.activeElement)) row.scrollIntoView({ block: "nearest" });
    });
  }

  function draw() {
    const numbers = model.get("numbers");
    const table = document.createElement("table");
    table.setAttribute("role", "grid");
    const head = table.createTHead().insertRow();
    model.get("columns").forEach((name, i) => head.append(cell("th", name, numbers[i])));
    const body = table.createTBody();
    model.get("rows").forEach((values, i) => {
      const row = body.insertRow();
      values.forEach((value, j) => row.append(cell("td", value, numbers[j])));
      row.addEventListener("click", () => choose(i));
    });
    around.setAttribute("aria-label", model.get("label"));
    around.hidden = model.get("rows").length === 0;
    around.replaceChildren(table);
    mark();
  }

  around.addEventListener("keydown", (event) => {
    const by = MOVES[event.key];
    if (by === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    choose(model.get("chosen") + by);
  });
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
  model.on("change:rows change:columns change:numbers", later);
  model.on("change:chosen", mark);
  return () => {
    model.off("change:rows change:columns change:numbers", later);
    model.off("change:chosen", mark);
  };
}

export default { render };
