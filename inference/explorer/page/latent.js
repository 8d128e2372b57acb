// The view "Latent space": decodes the z under the mouse.

import { ask, latest } from "./server.js";
import { classChoice, colour, mark, panel, strip } from "./elements.js";

const MARGIN = 0.05; // of the map, around the points
const STEP = 1 / 60; // of the map's width, for an arrow key

export function start(world) {
  const fieldset = document.getElementById("latent-classes");
  const panels = world.runs.map((run, number) => new MapPanel(world, run, number, () => chosen()));
  const nearest = { value: "nearest", name: "class of the nearest image" };
  const chosen = classChoice(fieldset, world, [nearest], () => panels.forEach((each) => each.choose()), true);
  document.querySelector("#latent .panels").append(...panels.map((each) => each.element));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => panels.forEach((each) => each.draw()));
  return () => panels.forEach((each) => each.open());
}

class MapPanel {
  constructor(world, run, number, chosen) {
    this.world = world;
    this.number = number;
    this.chosen = chosen;
    this.element = panel(run, "map");
    this.map = this.find(".map");
    this.canvas = this.find("canvas");
    this.showDecoded = strip(this.find(".decoded"), world.class_names);
    this.decode = latest(this.element, (place) => this.decodeAt(place));
    this.map.addEventListener("pointermove", (event) => {
      const box = this.canvas.getBoundingClientRect();
      this.go([(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height]);
    });
    this.map.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (!step || !this.place) return;
      event.preventDefault();
      this.go(this.place.map((share, axis) => share + step[axis] * STEP));
    });
    new ResizeObserver(() => this.draw()).observe(this.canvas);
  }

  find(selector) {
    return this.element.querySelector(selector);
  }

  async open() {
    if (this.asked) return;
    this.asked = true;
    try {
      this.data = await ask(`/api/runs/${this.number}/map`);
    } catch (error) {
      this.find(".axes").textContent = error.message;
      this.asked = false;
      return;
    }
    const [first, second] = this.data.shares.map((share) => `${Math.round(share * 100)} %`);
    this.find(".axes").textContent =
      `${this.data.points.length} ${this.data.part} images, coloured by class. Principal components of z: horizontal ` +
      `${first}, vertical ${second} of the variance`;
    this.draw();
    this.go([0.5, 0.5]);
  }

  // The same scale for both axes, so that distances are comparable in all directions.
  measure() {
    const { points } = this.data;
    const lows = [0, 1].map((axis) => Math.min(...points.map((point) => point[axis])));
    const highs = [0, 1].map((axis) => Math.max(...points.map((point) => point[axis])));
    const { width, height } = this.canvas;
    const room = 1 - 2 * MARGIN;
    const scale = Math.min(...[width, height].map((side, axis) => (side * room) / (highs[axis] - lows[axis] || 1e-9)));
    this.scale = Math.min(scale, 1e9);
    this.middle = [0, 1].map((axis) => (lows[axis] + highs[axis]) / 2);
  }

  toCanvas([u, v]) {
    const { width, height } = this.canvas;
    return [width / 2 + (u - this.middle[0]) * this.scale, height / 2 - (v - this.middle[1]) * this.scale];
  }

  toLatent([across, down]) {
    const { width, height } = this.canvas;
    return [
      this.middle[0] + ((across - 0.5) * width) / this.scale,
      this.middle[1] - ((down - 0.5) * height) / this.scale,
    ];
  }

  draw() {
    const box = this.canvas.getBoundingClientRect();
    if (!this.data || !box.width) return;
    const ratio = devicePixelRatio;
    this.canvas.width = Math.round(box.width * ratio);
    this.canvas.height = Math.round(box.height * ratio);
    this.measure();
    const context = this.canvas.getContext("2d");
    const radius = (this.data.points.length > 500 ? 3 : 4) * ratio;
    const lit = this.chosen();
    context.strokeStyle = getComputedStyle(this.canvas).getPropertyValue("--dot-edge");
    context.lineWidth = 0.7 * ratio;
    for (const front of lit === "nearest" ? [true] : [false, true]) {
      for (const [place, point] of this.data.points.entries()) {
        const label = this.data.labels[place];
        if (lit !== "nearest" && (String(label) === lit) !== front) continue;
        context.globalAlpha = front ? 0.9 : 0.25;
        context.fillStyle = colour(this.world, label);
        mark(context, ...this.toCanvas(point), radius, this.world, label);
        context.stroke();
      }
    }
    context.globalAlpha = 1;
    if (this.place) this.mark();
  }

  choose() {
    this.draw();
    if (this.place) this.decode(this.place);
  }

  go(place) {
    if (!this.data || !this.scale) return;
    this.place = place.map((share) => Math.min(1, Math.max(0, share)));
    this.mark();
    this.decode(this.place);
  }

  mark() {
    const { clientWidth, clientHeight } = this.canvas;
    const [x, y] = [this.place[0] * clientWidth, this.place[1] * clientHeight];
    const spot = this.find(".spot");
    spot.style.left = `${x}px`;
    spot.style.top = `${y}px`;
    spot.hidden = false;
    const tile = this.find(".tile");
    const { offsetWidth, offsetHeight } = tile;
    tile.style.left = `${x + 18 + offsetWidth > clientWidth ? x - 18 - offsetWidth : x + 18}px`;
    tile.style.top = `${y + 18 + offsetHeight > clientHeight ? y - 18 - offsetHeight : y + 18}px`;
  }

  classAt([u, v]) {
    if (this.chosen() !== "nearest") return Number(this.chosen());
    let nearest = 0;
    let least = Infinity;
    for (const [place, point] of this.data.points.entries()) {
      const distance = (point[0] - u) ** 2 + (point[1] - v) ** 2;
      if (this.data.labels[place] >= 0 && distance < least) {
        least = distance;
        nearest = this.data.labels[place];
      }
    }
    return nearest;
  }

  async decodeAt(place) {
    const [u, v] = this.toLatent(place);
    let images;
    try {
      ({ images } = await ask(`/api/runs/${this.number}/decode?u=${u}&v=${v}`));
    } catch (error) {
      this.find(".axes").textContent = error.message;
      return;
    }
    const y = this.classAt([u, v]);
    const name = this.world.class_names[y];
    const tile = this.find(".tile");
    tile.querySelector("img").src = images[y];
    tile.querySelector("img").alt = `the decoded image, class ${name}`;
    tile.querySelector("figcaption").textContent = `y = ${name}`;
    tile.hidden = false;
    this.showDecoded(images, y, (each) => `the decoded image, class ${each}`);
    this.mark();
    this.element.dataset.decoded = `${u},${v}`;
    this.find(".place").textContent = `decoded at ${u.toFixed(2)}, ${v.toFixed(2)} as class ${name}`;
  }
}
