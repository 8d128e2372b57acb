// The page: requests the list of runs and passes it to the views.

import { ask } from "./server.js";
import { start as startDrawing } from "./draw.js";
import { start as startLatent } from "./latent.js";
import { start as startNewClasses } from "./new_classes.js";
import { start as startPlane } from "./plane.js";
import { start as startRow } from "./row.js";
import { start as startSamples } from "./samples.js";

const VIEWS = {
  images: { draw: startDrawing, latent: startLatent, samples: startSamples },
  plane: { plane: startPlane },
  row: { row: startRow },
};
let tabs = [];
const opened = {};

function show(name) {
  for (const tab of tabs) {
    const chosen = tab.getAttribute("aria-controls") === name;
    tab.setAttribute("aria-selected", chosen);
    tab.tabIndex = chosen ? 0 : -1;
    document.getElementById(tab.getAttribute("aria-controls")).hidden = !chosen;
  }
  opened[name]?.();
}

// "#/latent", not "#latent": for the id of an element the browser would scroll and move the focus.
function shown() {
  const name = location.hash.slice(2);
  return tabs.some((tab) => tab.getAttribute("aria-controls") === name) ? name : tabs[0].getAttribute("aria-controls");
}

function listen() {
  for (const [place, tab] of tabs.entries()) {
    tab.addEventListener("click", () => { location.hash = `/${tab.getAttribute("aria-controls")}`; });
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = tabs[(place + step + tabs.length) % tabs.length];
      next.focus();
      next.click();
    });
  }
  addEventListener("hashchange", () => show(shown()));
}

try {
  const world = await ask("/api/runs");
  document.title = `${world.runs.map((run) => run.name).join(" and ")}: ssvae explore`;
  const views = { ...VIEWS[world.view] };
  if (world.view === "images" && world.runs.some((run) => run.has_new_classes)) views.discovered = startNewClasses;
  tabs = Object.keys(views).map((name) => document.getElementById(`${name}-tab`));
  for (const tab of tabs) tab.hidden = false;
  for (const [name, start] of Object.entries(views)) opened[name] = start(world);
  listen();
  show(shown());
} catch (error) {
  const failure = document.getElementById("failure");
  failure.textContent = error.message;
  failure.hidden = false;
}
