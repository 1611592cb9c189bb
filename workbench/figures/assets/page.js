"use strict";
// Draws every figure of the page in the colours of the reader's theme, and again when the theme changes or is printed.

const OPTIONS = {
  responsive: true,
  displaylogo: false,
  modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
};

const dark = window.matchMedia("(prefers-color-scheme: dark)");
const plots = [...document.querySelectorAll(".plot")].map((element) => ({
  element,
  figure: JSON.parse(element.nextElementSibling.textContent),
}));

function dress(value, colours) {
  if (typeof value === "string") return colours[value] ?? value;
  if (Array.isArray(value)) return value.map((part) => dress(part, colours));
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, dress(part, colours)]));
}

function draw(theme) {
  for (const { element, figure } of plots) {
    const { data, layout } = dress(figure, SWAPS[theme]);
    Plotly.react(element, data, layout, OPTIONS);
  }
}

function follow() {
  draw(dark.matches ? "dark" : "light");
}

follow();
dark.addEventListener("change", follow);
window.addEventListener("beforeprint", () => draw("light"));
window.addEventListener("afterprint", follow);
