"use strict";
document.documentElement.classList.add("js");

// Filters: a card is shown where every field that is set fits it.
for (const form of document.querySelectorAll("form.filters")) {
  const list = document.getElementById(form.dataset.cards);
  const cards = [...list.children].map(card => [card, card.querySelector(".prompt").textContent.toLowerCase()]);
  const filter = () => {
    const asked = Object.fromEntries(new FormData(form));
    const words = (asked.words || "").toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const [card, text] of cards) {
      const fits = ["split", "category", "source", "verdict"].every(name => !asked[name] || card.dataset[name] === asked[name])
        && words.every(word => text.includes(word));
      card.hidden = !fits;
      shown += fits;
    }
    form.querySelector("output").textContent = `${shown} of ${cards.length} shown`;
    list.nextElementSibling.hidden = shown > 0;
  };
  form.addEventListener("input", filter);
  form.addEventListener("submit", event => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(filter));
  filter();
}

// Samples over training: one grid at a time.
for (const stepper of document.querySelectorAll(".stepper")) {
  const range = stepper.querySelector("input[type=range]");
  if (!range) continue;
  const grids = [...stepper.querySelectorAll("figure.sheet")];
  const show = () => {
    grids.forEach((grid, place) => { grid.hidden = place !== Number(range.value); });
    const words = grids[range.value].querySelector("figcaption").textContent;
    stepper.querySelector("output").textContent = words;
    range.setAttribute("aria-valuetext", words);
  };
  range.addEventListener("input", show);
  show();
}

// Training curves.
const curves = JSON.parse(document.getElementById("curve-data").textContent);
const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const plots = [...document.querySelectorAll(".plot")].map(article => {
  const curve = curves[article.dataset.curve];
  const select = article.querySelector("select"), log = article.querySelector("input[type=checkbox]");
  const canvas = article.querySelector(".canvas");
  let drawn = null;
  const draw = () => {
    if (drawn) drawn.destroy();
    const names = curve.plots[select ? select.value : Object.keys(curve.plots)[0]];
    const values = names.map(name => curve.figures[name]);
    const positive = values.every(each => each.every(value => value === null || value > 0));
    log.disabled = !positive;
    const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 } };
    const numbers = (_, ticks) => ticks.map(tick => tick === null ? "" : String(+tick.toPrecision(3)));
    drawn = new uPlot({
      width: canvas.clientWidth || 480, height: 230,
      scales: { x: { time: false }, y: log.checked && positive ? { distr: 3 } : curve.share ? { range: [0, 1] } : {} },
      axes: [{ ...axis, label: curve.axis, labelSize: 18, size: 34, labelFont: "12px system-ui", values: (_, ticks) => ticks.map(tick => Number.isInteger(tick) ? tick.toLocaleString("en") : "") },
        { ...axis, size: 62, values: numbers }],
      series: [{ label: curve.axis }, ...names.map((name, place) => ({
        label: name.replaceAll("_", " "), stroke: colour(`--series${place % 7 + 1}`), dash: place < 7 ? [] : [6, 4], width: 2, spanGaps: true,
        points: { show: curve.steps.length < 30 }, value: (_, value) => value == null ? "–" : String(+value.toPrecision(4)),
      }))],
    }, [curve.steps, ...values], canvas);
  };
  select?.addEventListener("change", draw);
  log.addEventListener("change", draw);
  draw();
  return { draw, resize: () => drawn.setSize({ width: canvas.clientWidth, height: 230 }) };
});
addEventListener("resize", () => plots.forEach(plot => plot.resize()));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plots.forEach(plot => plot.draw()));
