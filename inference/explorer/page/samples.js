// The view "Samples": samples of a class, new ones at each press of the button.

import { ask, latest } from "./server.js";
import { classChoice, panel, picture } from "./elements.js";

export function start(world) {
  const number = document.getElementById("number");
  let seed = 0;
  const panels = world.runs.map((run) => panel(run));
  for (const each of panels) {
    const grid = document.createElement("div");
    grid.className = "grid";
    grid.setAttribute("aria-live", "polite");
    each.append(grid);
  }
  const draw = latest(document.querySelector("#samples .panels"), async () => {
    const y = Number(chosen());
    await Promise.all(panels.map(async (each, run) => {
      const grid = each.querySelector(".grid");
      try {
        const { images } = await ask(`/api/runs/${run}/samples?class=${y}&number=${number.value}&seed=${seed}`);
        const name = `a sample of class ${world.class_names[y]}`;
        grid.replaceChildren(...images.map((image) => picture(image, name)));
        each.dataset.drawn = `${y},${seed}`;
      } catch (error) {
        grid.textContent = error.message;
      }
    }));
  });
  const chosen = classChoice(document.getElementById("sample-classes"), world, [], draw);
  document.querySelector("#samples .panels").append(...panels);
  number.addEventListener("change", draw);
  document.getElementById("resample").addEventListener("click", () => { seed += 1; draw(); });
  let opened = false;
  return () => {
    if (!opened) draw();
    opened = true;
  };
}
