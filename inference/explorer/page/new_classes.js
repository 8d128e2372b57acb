// The view "New classes": images of each class that nobody has labelled, and a field to name it.

import { ask } from "./server.js";
import { panel, picture } from "./elements.js";

export function start(world) {
  const panels = world.runs.map((run) => panel(run));
  document.querySelector("#discovered .panels").append(...panels);
  let opened = false;
  return () => {
    if (!opened) panels.forEach((each, run) => draw(each, run, world));
    opened = true;
  };
}

async function draw(each, run, world) {
  const place = document.createElement("div");
  each.append(place);
  try {
    const { classes } = await ask(`/api/runs/${run}/new_classes`);
    place.append(...classes.map((found) => shown(found, run, world)));
    if (!classes.length) place.textContent = "All classes of this run have labels.";
  } catch (error) {
    place.textContent = error.message;
  }
}

function shown(found, run, world) {
  const section = document.createElement("div");
  const heading = document.createElement("h3");
  const isEmpty = !found.images.length;
  const share = `${(100 * found.share).toFixed(1)} % of the unlabelled images`;
  heading.textContent = isEmpty ? `${found.name} is empty: ${share}` : `${found.name}: ${share}`;
  const images = document.createElement("div");
  images.className = "grid";
  images.append(...found.images.map((image) => picture(image, `an image of ${found.name}`)));
  section.append(heading, images);
  if (world.may_name && !isEmpty) section.append(naming(found, run));
  return section;
}

function naming(found, run) {
  const form = document.createElement("form");
  form.className = "row";
  form.autocomplete = "off";
  const name = document.createElement("input");
  name.placeholder = "a name for this class";
  name.setAttribute("aria-label", `a name for ${found.name}`);
  const button = document.createElement("button");
  button.textContent = "Name it";
  const complaint = document.createElement("p");
  complaint.className = "note";
  complaint.setAttribute("role", "alert");
  form.append(name, button, complaint);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      await ask(`/api/runs/${run}/names`, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ class: found.name, name: name.value }),
      });
      // All views have the old name.
      location.reload();
    } catch (error) {
      complaint.textContent = error.message;
    }
  });
  return form;
}
