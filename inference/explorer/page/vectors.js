// The answer for a vector: class probabilities, log p(x), and the posterior of z. The views "Plane" and "Row" have it.

import { classBars, colour, symbol } from "./elements.js";

const MOST_DIMENSIONS = 12;
const SVG = "http://www.w3.org/2000/svg";

export class VectorAnswer {
  constructor(world, run, element, chosenClass) {
    this.world = world;
    this.run = run;
    this.element = element;
    this.chosenClass = chosenClass;
    element.append(document.getElementById("vector-answer").content.cloneNode(true));
    this.rows = world.class_names.map((name) => classBars(name));
    this.find("tbody").append(...this.rows.map((each) => each.element));
  }

  find(selector) {
    return this.element.querySelector(selector);
  }

  get best() {
    const { probabilities } = this.answer;
    return probabilities.indexOf(Math.max(...probabilities));
  }

  // The class whose posterior of z is shown: the chosen one, or the most probable.
  get shownClass() {
    const chosen = this.chosenClass();
    return chosen === "best" ? this.best : Number(chosen);
  }

  show(answer) {
    this.answer = answer;
    const { posterior } = answer;
    this.find(".answer").textContent = answer.words;
    this.find(".second").textContent =
      `entropy ${answer.entropy.toFixed(2)} of at most ${Math.log(this.rows.length).toFixed(2)} nats` +
      (posterior ? `; p(y|x): ${posterior.words}` : "");
    for (const [y, each] of this.rows.entries()) {
      const interval = posterior && [posterior.probabilities[y], posterior.low[y], posterior.high[y]];
      each.show(answer.probabilities[y], interval, y === this.best);
    }
    this.find(".density").textContent = posterior
      ? `log p(x) = ${posterior.log_evidence.toFixed(2)} ± ${posterior.log_evidence_error.toFixed(2)} nats` +
        (this.run.is_discrete ? "" : ", a density in the units of the data")
      : "";
    this.find(".evidence").textContent = !posterior
      ? `${this.run.model} does not define p(y|x): only q(y|x) of the classifier is available.`
      : `p(x) and p(y|x) are estimated with ${this.run.num_samples} importance samples for each class (effective ` +
        `sample size ${posterior.effective_samples.toFixed(1)}` +
        `${posterior.reliable === false ? "; k\u0302 is above 0.7: unreliable, usually too low" : ""}). ` +
        "Intervals are two standard errors of the log-odds to each side. They show the uncertainty due to sampling.";
    this.showPosterior();
  }

  showPosterior() {
    if (!this.answer) return;
    const y = this.shownClass;
    const { mean, scale, covariance } = this.answer;
    const name = this.world.class_names[y];
    this.find(".of").textContent = `q(z|x, y = ${name})`;
    const drawn = covariance ? this.ellipses(y) : bars(mean[y], scale[y], this.find(".posterior").clientWidth);
    drawn.setAttribute("role", "img");
    drawn.setAttribute("aria-label", `mean and standard deviation of z for class ${name}`);
    this.find(".posterior").replaceChildren(drawn);
    const numbers = mean[y].slice(0, MOST_DIMENSIONS).map(
      (value, i) => `z${subscript(i + 1)} = ${value.toFixed(2)} ± ${scale[y][i].toFixed(2)}`,
    );
    const left = mean[y].length - numbers.length;
    this.find(".numbers").textContent =
      `${numbers.join(", ")}${left > 0 ? ` and ${left} more` : ""} (mean ± standard deviation)`;
  }

  // One standard deviation of z around the mean, for every class; the chosen class is filled.
  ellipses(chosen) {
    const { mean, scale, covariance } = this.answer;
    const reach = Math.max(3, ...mean.flatMap((each, y) => each.map((value, i) => Math.abs(value) + 1.5 * scale[y][i])));
    const [side, left, top] = [240, 26, 8];
    const at = ([u, v]) => [left + (side * (u + reach)) / (2 * reach), top + (side * (reach - v)) / (2 * reach)];
    const svg = drawing(side + left + 8, side + top + 24);
    svg.classList.add("square");
    svg.append(shape("rect", { x: left, y: top, width: side, height: side, class: "frame" }));
    for (const tick of ticks(-reach, reach, 5)) {
      svg.append(text(at([tick, 0])[0], top + side + 14, String(tick), "middle"));
      svg.append(text(left - 4, at([0, tick])[1] + 4, String(tick), "end"));
    }
    svg.append(text(left + side - 4, top + side - 6, "z\u2081", "end"), text(left + 6, top + 14, "z\u2082", "start"));
    const order = [...mean.keys()].sort((a, b) => (a === chosen) - (b === chosen));
    for (const y of order) {
      // The Cholesky factor of the covariance maps the unit circle to the ellipse.
      const [[a, b], [, d]] = covariance[y];
      const first = Math.sqrt(Math.max(a, 1e-12));
      const second = Math.sqrt(Math.max(d - (b / first) ** 2, 0));
      const points = Array.from({ length: 65 }, (_, step) => {
        const angle = (step / 32) * Math.PI;
        const across = mean[y][0] + first * Math.cos(angle);
        return at([across, mean[y][1] + (b / first) * Math.cos(angle) + second * Math.sin(angle)]).map((each) => each.toFixed(1)).join(",");
      });
      const kind = y === chosen ? "chosen" : "other";
      const [u, v] = at(mean[y]);
      svg.append(
        shape("polygon", { points: points.join(" "), class: kind, stroke: colour(this.world, y), fill: colour(this.world, y) }),
      );
      const marker = text(u, v + 5, symbol(this.world, y), "middle");
      marker.setAttribute("fill", colour(this.world, y));
      marker.setAttribute("class", "marker");
      svg.append(marker);
    }
    return svg;
  }
}

// The mean of each z with one standard deviation (thick) and two (thin) to each side.
function bars(mean, scale, room) {
  const shown = mean.slice(0, MOST_DIMENSIONS);
  const reach = Math.max(3, ...shown.map((value, i) => Math.abs(value) + 2 * scale[i]));
  const [left, right, step] = [30, 12, 22];
  const width = Math.min(460, Math.max(room, 200)) - left - right; // so that letters keep their size
  const at = (value) => left + (width * (value + reach)) / (2 * reach);
  const height = shown.length * step;
  const svg = drawing(width + left + right, height + 22);
  for (const tick of ticks(-reach, reach, 7)) {
    svg.append(shape("line", { x1: at(tick), x2: at(tick), y1: 0, y2: height, class: "frame" }));
    svg.append(text(at(tick), height + 15, String(tick), "middle"));
  }
  for (const [i, value] of shown.entries()) {
    const y = (i + 0.5) * step;
    const line = (reached, kind) =>
      shape("line", { x1: at(value - reached), x2: at(value + reached), y1: y, y2: y, class: kind });
    svg.append(text(left - 8, y + 4, `z${subscript(i + 1)}`, "end"), line(2 * scale[i], "two"), line(scale[i], "one"));
    svg.append(shape("circle", { cx: at(value), cy: y, r: 3.5, class: "mean" }));
  }
  return svg;
}

function drawing(width, height) {
  return shape("svg", { viewBox: `0 0 ${width} ${height}` });
}

function shape(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function text(x, y, content, anchor) {
  const made = shape("text", { x, y, "text-anchor": anchor });
  made.textContent = content;
  return made;
}

function subscript(number) {
  return [...String(number)].map((digit) => String.fromCharCode(0x2080 + Number(digit))).join("");
}

// Round numbers from low to high, at most as many as stated: 1, 2 or 5 times a power of ten apart.
export function ticks(low, high, most) {
  const rough = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= rough);
  const found = [];
  for (let number = Math.ceil(low / step); number * step <= high; number += 1) {
    found.push(Number((number * step).toPrecision(6)));
  }
  return found;
}
