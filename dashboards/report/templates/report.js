"use strict";
(() => {
  const divs = [...document.querySelectorAll(".chart")];

  function look(layout) {
    const style = getComputedStyle(document.documentElement);
    const read = name => style.getPropertyValue(name).trim();
    const changes = {
      "font.color": read("--ink"),
      "hoverlabel.bgcolor": read("--card"), "hoverlabel.bordercolor": read("--line"), "hoverlabel.font.color": read("--ink"),
    };
    // Only existing axes: naming another one would create it.
    for (const axis of Object.keys(layout).filter(key => /^[xy]axis/.test(key))) {
      changes[axis + ".gridcolor"] = read("--line");
      changes[axis + ".linecolor"] = read("--muted");
    }
    return changes;
  }

  function restyle() {
    divs.forEach(div => Plotly.relayout(div, look(div.layout)));
  }

  function giveUp() {
    for (const div of divs) {
      div.style.minHeight = "0";
      div.textContent = "This browser cannot draw the chart. Its numbers are below.";
      div.parentElement.querySelector("details").open = true;
    }
  }

  async function inflate(id) {
    const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), character => character.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  }

  async function draw() {
    const script = document.createElement("script");
    script.textContent = await inflate("plotly");
    document.head.append(script);
    const figures = JSON.parse(await inflate("figures"));
    for (const div of divs) {
      const { data, layout } = figures[div.id];
      await Plotly.newPlot(div, data, layout, { displayModeBar: false, responsive: true });
    }
    restyle();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", restyle);
    for (const [event, printing] of [["beforeprint", true], ["afterprint", false]]) {
      addEventListener(event, () => { document.documentElement.classList.toggle("printing", printing); restyle(); });
    }
  }

  draw().catch(giveUp);
})();
