// A line of text that can change: a heading, news, an error. Data becomes text nodes, never markup.

const ROLES = { error: "alert", news: "status" };

function render({ model, el }) {
  const line = document.createElement("div");
  el.append(line);
  const show = () => {
    const kind = model.get("kind");
    line.className = `latw-note latw-${kind}`;
    line.textContent = model.get("text");
    line.hidden = line.textContent === "";
    if (ROLES[kind]) line.setAttribute("role", ROLES[kind]);
    if (kind === "heading") {
      line.setAttribute("role", "heading");
      line.setAttribute("aria-level", "3");
    }
  };
  show();
  model.on("change:text", show);
  return () => model.off("change:text", show);
}

export default { render };
