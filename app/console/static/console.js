"use strict";
// Draws the curves, and refreshes the page without a flicker: only what differs is replaced.
(() => {
  const drawn = new WeakMap();
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // Hours and minutes in UTC; at midnight the day.
  function timeText(at) {
    const text = new Date(at * 1000).toISOString();
    return text.slice(11, 16) === "00:00" ? text.slice(5, 10) : text.slice(11, 16);
  }

  function options(chart, width) {
    const axis = { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 } };
    return {
      width,
      height: 200,
      tzDate: (at) => uPlot.tzDate(new Date(at * 1000), "UTC"),
      scales: { y: { range: (_, low, high) => [Math.min(0, low ?? 0), high > 0 ? high * 1.05 : 1] } },
      axes: [{ ...axis, space: 70, values: (_, times) => times.map(timeText) }, { ...axis, size: 60 }],
      series: [
        {},
        ...chart.names.map((name, at) => ({ label: name, stroke: colour("--c" + (at % 4)), width: 2, spanGaps: false })),
      ],
    };
  }

  function draw(plot) {
    const text = plot.dataset.chart;
    const known = drawn.get(plot);
    const chart = JSON.parse(text);
    if (known && known.names === chart.names.join()) {
      if (known.text !== text) known.plot.setData(chart.data);
      known.text = text;
      return;
    }
    if (known) known.plot.destroy();
    const made = new uPlot(options(chart, plot.clientWidth), chart.data, plot);
    drawn.set(plot, { plot: made, names: chart.names.join(), text });
  }

  function drawAll() {
    for (const plot of document.querySelectorAll(".plot")) draw(plot);
  }

  function redrawAll() {
    for (const plot of document.querySelectorAll(".plot")) {
      drawn.get(plot)?.plot.destroy();
      drawn.delete(plot);
    }
    drawAll();
  }

  // Makes `old` like `wanted`. What the reader opened or typed stays.
  function patch(old, wanted) {
    if (old.isEqualNode(wanted)) return;
    const alike = old.nodeType === wanted.nodeType && old.nodeName === wanted.nodeName;
    if (!alike) return old.replaceWith(wanted.cloneNode(true));
    if (old.nodeType !== Node.ELEMENT_NODE) {
      old.nodeValue = wanted.nodeValue;
      return;
    }
    if (old.nodeName === "FORM") return;
    for (const { name } of [...old.attributes]) if (name !== "open" && name !== "hidden" && !wanted.hasAttribute(name)) old.removeAttribute(name);
    for (const { name, value } of wanted.attributes) if (name !== "hidden" && old.getAttribute(name) !== value) old.setAttribute(name, value);
    if (old.classList.contains("plot")) return;
    const [now, next] = [[...old.childNodes], [...wanted.childNodes]];
    next.forEach((child, at) => (at < now.length ? patch(now[at], child) : old.append(child.cloneNode(true))));
    now.slice(next.length).forEach((child) => child.remove());
  }

  async function refresh() {
    if (document.hidden || !getSelection().isCollapsed) return;
    try {
      const answer = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(10000) });
      if (!answer.ok) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      patch(document.getElementById("main"), page.getElementById("main"));
      drawAll();
    } catch {
      // The time of the page says how old it is. The next refresh tries again.
    }
  }

  drawAll();
  for (const each of document.querySelectorAll(".live")) each.hidden = false;
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redrawAll);
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth !== width) redrawAll();
    width = innerWidth;
  });
  setInterval(refresh, 1000 * Number(document.body.dataset.refresh));
})();
