// Elements that several views use.

const SHAPES = ["circle", "square", "triangle", "diamond", "upturned"];

export function panel(run, contents) {
  const made = document.getElementById("panel").content.firstElementChild.cloneNode(true);
  made.querySelector("h2").textContent = run.name;
  made.querySelector(".story").textContent =
    `${run.model}, prior ${run.prior}, likelihood ${run.likelihood}; ${run.data}, ${run.num_labelled} labels`;
  if (contents) made.append(document.getElementById(contents).content.cloneNode(true));
  return made;
}

export function picture(source, name, caption = "") {
  const figure = document.createElement("figure");
  const image = document.createElement("img");
  image.src = source;
  image.alt = name;
  figure.append(image);
  if (caption) {
    const text = document.createElement("figcaption");
    text.textContent = caption;
    text.title = caption;
    figure.append(text);
  }
  return figure;
}

// A strip with one picture for each class. Pictures are replaced in place, so that they do not flicker.
export function strip(element, classNames) {
  element.classList.toggle("ten", classNames.length === 10);
  const figures = classNames.map((name) => {
    const figure = picture("data:,", "", name);
    figure.firstElementChild.removeAttribute("src");
    return figure;
  });
  element.replaceChildren(...figures);
  return (images, chosen, describe) => {
    for (const [y, figure] of figures.entries()) {
      figure.firstElementChild.src = images[y];
      figure.firstElementChild.alt = describe(classNames[y]);
      figure.classList.toggle("chosen", y === chosen);
    }
  };
}

export function classChoice(fieldset, world, extra, onchange, coloured = false) {
  const choices = [...extra, ...world.class_names.map((name, y) => ({ value: String(y), name, y }))];
  for (const { value, name, y } of choices) {
    const label = document.createElement("label");
    const input = document.createElement("input");
    input.type = "radio";
    input.name = fieldset.id;
    input.value = value;
    input.checked = value === choices[0].value;
    input.addEventListener("change", onchange);
    label.append(input);
    if (coloured && y !== undefined) label.append(swatch(world, y));
    label.append(name);
    fieldset.append(label);
  }
  fieldset.classList.toggle("many", choices.length > 14);
  return () => fieldset.querySelector(":checked").value;
}

function swatch(world, y) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 28;
  const context = canvas.getContext("2d");
  context.fillStyle = colour(world, y);
  mark(context, 14, 14, 10, world, y);
  return canvas;
}

export function colour(world, y) {
  return y < 0 ? "#8d96a3" : world.colours[y % world.colours.length];
}

// The marker of a class. From the eleventh class on, colours repeat and shapes differ.
export function mark(context, x, y, radius, world, label) {
  const shape = SHAPES[Math.floor(Math.max(label, 0) / world.colours.length) % SHAPES.length];
  const corners = { square: [45, 4], triangle: [-90, 3], diamond: [0, 4], upturned: [90, 3] }[shape];
  context.beginPath();
  if (!corners) {
    context.arc(x, y, radius, 0, 2 * Math.PI);
  } else {
    const [turned, number] = corners;
    for (let corner = 0; corner < number; corner += 1) {
      const angle = (turned / 180 + (2 * corner) / number) * Math.PI;
      context.lineTo(x + 1.25 * radius * Math.cos(angle), y + 1.25 * radius * Math.sin(angle));
    }
    context.closePath();
  }
  context.fill();
}
