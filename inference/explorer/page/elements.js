// Elements that several views use.

// The first markers of ssvae.inference.figures.style.
const SHAPES = ["circle", "triangle", "square", "diamond", "upturned"];

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

// Sets a text in which x_seen and x_missing are x with an index.
export function say(element, text) {
  const parts = text.split(/x_(seen|missing)/);
  element.replaceChildren(...parts.flatMap((part, place) => {
    if (place % 2 === 0) return [part];
    const index = document.createElement("sub");
    index.textContent = part;
    return ["x", index];
  }));
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

export function classChoice(fieldset, world, extra, onchange, coloured = false, named = (name) => name) {
  const choices = [...extra, ...world.class_names.map((name, y) => ({ value: String(y), name: named(name), y }))];
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

// From the eleventh class on, colours repeat and shapes differ. For vectors, shapes differ from the second class on: a
// plane has few classes, and a region nothing but its colour.
function shapeOf(world, label) {
  const repeats = Math.floor(Math.max(label, 0) / world.colours.length);
  return SHAPES[(world.view === "images" ? repeats : repeats + Math.max(label, 0)) % SHAPES.length];
}

// The marker of a class as a character.
export function symbol(world, label) {
  return { circle: "\u25cf", triangle: "\u25b2", square: "\u25a0", diamond: "\u25c6", upturned: "\u25bc" }[shapeOf(world, label)];
}

// The marker of a class.
export function mark(context, x, y, radius, world, label) {
  const shape = shapeOf(world, label);
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

// The row of a class: bars of q(y|x) and of p(y|x) with its interval, and both numbers.
export function classBars(name) {
  const element = document.createElement("tr");
  const title = document.createElement("th");
  title.scope = "row";
  title.textContent = name;
  const track = document.createElement("td");
  track.className = "track";
  const both = document.createElement("div");
  both.className = "both";
  const [q, p, whisker] = ["bar q", "bar p", "whisker"].map((kind) => {
    const bar = document.createElement("div");
    bar.className = kind;
    both.append(bar);
    return bar;
  });
  track.append(both);
  const [qValue, pValue] = ["q", "p"].map((kind) => {
    const value = document.createElement("td");
    value.className = `value ${kind}`;
    return value;
  });
  element.append(title, track, qValue, pValue);
  return {
    element,
    clear() {
      element.classList.remove("best");
      for (const bar of [q, p, whisker]) bar.style.width = "0";
      whisker.hidden = true;
      qValue.textContent = pValue.textContent = "";
    },
    show(qShare, interval, best) {
      element.classList.toggle("best", best);
      q.style.width = percent(qShare);
      qValue.textContent = `${(qShare * 100).toFixed(1)} %`;
      if (!interval) {
        whisker.hidden = true;
        return;
      }
      const [pShare, low, high] = interval;
      p.style.width = percent(pShare);
      whisker.hidden = high - low < 0.005;
      whisker.style.left = percent(low);
      whisker.style.width = percent(high - low);
      pValue.textContent = `${(pShare * 100).toFixed(1)} %`;
      pValue.title = `${percent(low)} to ${percent(high)}`;
    },
  };
}

function percent(share) {
  return `${(share * 100).toFixed(2)}%`;
}
