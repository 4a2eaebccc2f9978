"use strict";
(() => {
  const plots = JSON.parse(document.getElementById("plots").textContent);
  const elements = [...document.querySelectorAll(".plot")];
  const buttons = [...document.querySelectorAll("[data-agent]")];
  const bandButtons = [...document.querySelectorAll("[data-bands]")];
  const narrow = matchMedia("(max-width: 40rem)");
  const schemes = [matchMedia("(prefers-color-scheme: dark)"), narrow];
  const hidden = new Set();
  let bands = true;
  let version = 0;
  const drawn = new WeakMap();
  const inView = new Set();

  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // Black lines take the colour of the text, to show on a dark page too.
  const inked = (trace, ink) =>
    JSON.parse(JSON.stringify(trace), (key, value) =>
      key === "color" || key === "fillcolor" ? value.replace("#000000", ink) : value);

  const traces = (plot) => plot.data.map((trace) => ({
    ...inked(trace, css("--text")),
    ...(narrow.matches && trace.mode === "markers+text" ? { mode: "markers" } : {}),
    visible: !hidden.has(trace.legendgroup) && (bands || trace.meta !== "band"),
  }));

  const layout = (plot) => {
    const axis = (own) => ({
      gridcolor: css("--rule"), linecolor: css("--rule"), zerolinecolor: css("--rule"),
      tickfont: { size: narrow.matches ? 11 : 12 },
      ...own,
      title: { ...own.title, font: { size: 13 } },
    });
    return {
      ...plot.layout,
      xaxis: axis(plot.layout.xaxis),
      yaxis: axis(plot.layout.yaxis),
      font: { family: getComputedStyle(document.body).fontFamily, color: css("--text"), size: 13 },
      hoverlabel: { bgcolor: css("--raised"), bordercolor: css("--rule"), font: { color: css("--text") } },
      hovermode: narrow.matches ? "closest" : plot.layout.hovermode,
      // A finger on a figure scrolls the page.
      dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
      paper_bgcolor: "transparent", plot_bgcolor: "transparent",
    };
  };

  const config = {
    responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d"],
  };

  const draw = (element) => {
    if (drawn.get(element) === version) return;
    drawn.set(element, version);
    const plot = plots[element.id];
    Plotly.react(element, traces(plot), layout(plot), config);
  };

  // What is out of sight is drawn when it comes into view.
  const redraw = () => { version += 1; inView.forEach(draw); };

  const press = () => {
    buttons.forEach((b) => b.setAttribute("aria-pressed", String(!hidden.has(b.dataset.agent))));
    bandButtons.forEach((b) => b.setAttribute("aria-pressed", String(bands)));
    redraw();
  };

  const toggle = (agent) => {
    if (!hidden.delete(agent)) hidden.add(agent);
    press();
  };

  // The two clicks of a double click have undone each other.
  const isolate = (agent) => {
    const agents = new Set(buttons.map((button) => button.dataset.agent));
    const alone = !hidden.has(agent) && hidden.size === agents.size - 1;
    hidden.clear();
    if (!alone) agents.forEach((other) => { if (other !== agent) hidden.add(other); });
    press();
  };

  const observer = new IntersectionObserver((entries) => entries.forEach((entry) => {
    if (entry.isIntersecting) {
      inView.add(entry.target);
      draw(entry.target);
    } else {
      inView.delete(entry.target);
    }
  }), { rootMargin: "400px" });

  elements.forEach((element) => observer.observe(element));
  buttons.forEach((button) => {
    button.addEventListener("click", () => toggle(button.dataset.agent));
    button.addEventListener("dblclick", () => isolate(button.dataset.agent));
  });
  bandButtons.forEach((button) => button.addEventListener("click", () => {
    bands = !bands;
    press();
  }));
  schemes.forEach((scheme) => scheme.addEventListener("change", redraw));
  addEventListener("beforeprint", () => elements.forEach(draw));
})();
