// The view "Plane": regions of q(y|x), what the run says of a point, and what changes when a label does.

import { ask, latest, posted } from "./server.js";
import { classChoice, colour, mark, panel } from "./elements.js";
import { ticks, VectorAnswer } from "./vectors.js";

const STEP = 1 / 100; // of the plane's width, for an arrow key
const GRAB = 14; // pixels around a label in which it can be grabbed
const ROOM = { left: 52, right: 12, top: 10, bottom: 44 }; // pixels around the plane, for its axes
const SAMPLES = 200; // of each class
const SHADE = 0.45;

export function start(world) {
  const find = (id) => document.getElementById(id);
  const each = (act) => () => panels.forEach(act);
  const look = [{ value: "look", name: "asks about the point" }, { value: "move", name: "moves the nearest label" }];
  const controls = { contours: find("plane-contours"), samples: find("plane-samples") };
  const panels = world.runs.map((run, number) => new PlanePanel(world, run, number, controls));
  const label = (name) => `adds a label: ${name}`;
  controls.click = classChoice(find("plane-click"), world, look, () => {}, true, label);
  const best = [{ value: "best", name: "most probable class" }];
  controls.class = classChoice(
    find("plane-class"), world, best, each((one) => one.chooseClass()), true,
  );
  controls.contours.addEventListener("change", each((one) => one.showLayers()));
  controls.samples.addEventListener("change", each((one) => one.showLayers()));
  document.querySelector("#plane .panels").append(...panels.map((one) => one.element));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", each((one) => one.draw()));
  return each((one) => one.open());
}

class PlanePanel {
  constructor(world, run, number, controls) {
    this.world = world;
    this.run = run;
    this.url = `/api/runs/${number}`;
    this.controls = controls;
    this.element = panel(run, "plane-map");
    this.map = this.find(".map");
    this.canvas = this.find("canvas");
    this.contours = null; // not asked for
    this.samples = null;
    this.version = 0; // of the labels
    this.answer = new VectorAnswer(world, run, this.find(".said"), () => controls.class());
    this.ask = latest(this.find(".said"), (place) => this.askAbout(place));
    this.showLayers = latest(this.canvas, () => this.updateLayers());
    this.find(".undo").addEventListener("click", () => this.undo());
    this.listen();
    new ResizeObserver(() => this.draw()).observe(this.canvas);
  }

  find(selector) {
    return this.element.querySelector(selector);
  }

  async open() {
    if (this.asked) return;
    this.asked = true;
    try {
      const found = await ask(`${this.url}/plane`);
      this.limits = found.limits;
      this.unlabelled = found.unlabelled;
      this.take(found);
    } catch (error) {
      this.say(error.message);
      this.asked = false;
      return;
    }
    this.go(this.limits.map(([low, high]) => (low + high) / 2));
    this.showLayers();
    if (this.state.num_left) this.train(++this.version);
  }

  // Regions and labels, as the server has them now.
  take(state) {
    this.state = state;
    const changed = state.labelled.filter((label) => label.changed).length;
    this.find(".undo").disabled = !changed;
    this.element.dataset.changed = changed;
    this.regions = this.paint(state);
    this.draw();
  }

  // The regions as a small picture, which is enlarged when it is drawn.
  paint({ classes, certainty }) {
    const picture = document.createElement("canvas");
    const context = picture.getContext("2d");
    [picture.height, picture.width] = [classes.length, classes[0].length];
    const image = context.createImageData(picture.width, picture.height);
    const colours = this.world.class_names.map((_, y) => colour(this.world, y).match(/\w\w/g).map((hex) => parseInt(hex, 16)));
    for (const [row, cells] of classes.entries()) {
      for (const [column, y] of cells.entries()) {
        const pixel = 4 * ((picture.height - 1 - row) * picture.width + column);
        image.data.set([...colours[y], Math.round(255 * SHADE * certainty[row][column])], pixel);
      }
    }
    context.putImageData(image, 0, 0);
    return picture;
  }

  // Places are [x, y] in the units of the data, pixels those of the page from the map's corner.
  toPixels(place) {
    const { clientWidth, clientHeight } = this.canvas;
    const [width, height] = [clientWidth - ROOM.left - ROOM.right, clientHeight - ROOM.top - ROOM.bottom];
    const [across, up] = place.map((value, axis) => (value - this.limits[axis][0]) / this.extent(axis));
    return [ROOM.left + across * width, ROOM.top + (1 - up) * height];
  }

  toPlace([x, y]) {
    const { clientWidth, clientHeight } = this.canvas;
    const [width, height] = [clientWidth - ROOM.left - ROOM.right, clientHeight - ROOM.top - ROOM.bottom];
    return this.inside([(x - ROOM.left) / width, 1 - (y - ROOM.top) / height].map(
      (share, axis) => this.limits[axis][0] + share * this.extent(axis),
    ));
  }

  extent(axis) {
    return this.limits[axis][1] - this.limits[axis][0];
  }

  inside(place) {
    return place.map((value, axis) => Math.min(this.limits[axis][1], Math.max(this.limits[axis][0], value)));
  }

  draw() {
    const { clientWidth, clientHeight } = this.canvas;
    if (!this.state || !clientWidth) return;
    const ratio = devicePixelRatio;
    this.canvas.width = Math.round(clientWidth * ratio);
    this.canvas.height = Math.round(clientHeight * ratio);
    const context = this.canvas.getContext("2d");
    context.scale(ratio, ratio);
    const style = getComputedStyle(this.canvas);
    const [ink, quiet, line] = ["--text", "--quiet", "--line"].map((name) => style.getPropertyValue(name));
    this.drawAxes(context, quiet, line);
    context.save();
    context.beginPath();
    const [left, bottom] = this.toPixels(this.limits.map(([low]) => low));
    const [right, top] = this.toPixels(this.limits.map(([, high]) => high));
    context.rect(left, top, right - left, bottom - top);
    context.clip();
    context.drawImage(this.regions, left, top, right - left, bottom - top);
    context.fillStyle = quiet;
    context.globalAlpha = 0.55;
    for (const point of this.unlabelled) {
      context.beginPath();
      context.arc(...this.toPixels(point), clientWidth > 450 ? 1.7 : 1.2, 0, 2 * Math.PI);
      context.fill();
    }
    context.globalAlpha = 1;
    if (this.controls.samples.checked) this.drawSamples(context);
    if (this.controls.contours.checked) this.drawContours(context, ink);
    context.restore();
    for (const [number, label] of this.state.labelled.entries()) this.drawLabel(context, label, number, ink);
    if (this.place) this.placeSpot();
  }

  drawAxes(context, quiet, line) {
    const [[left, right], [bottom, top]] = this.limits;
    const style = getComputedStyle(this.canvas);
    context.font = `12px ${style.fontFamily}`;
    context.fillStyle = quiet;
    context.strokeStyle = line;
    const [x0, y0] = this.toPixels([left, bottom]);
    const [x1, y1] = this.toPixels([right, top]);
    context.strokeRect(x0 - 0.5, y1 - 0.5, x1 - x0 + 1, y0 - y1 + 1);
    context.textAlign = "center";
    for (const tick of ticks(left, right, (x1 - x0) / 60)) {
      context.fillText(String(tick), this.toPixels([tick, bottom])[0], y0 + 16);
    }
    const [first, second] = this.world.columns.map((column) => column.name);
    context.fillText(first, (x0 + x1) / 2, y0 + 36, x1 - x0);
    context.textAlign = "right";
    for (const tick of ticks(bottom, top, (y0 - y1) / 40)) {
      context.fillText(String(tick), x0 - 6, this.toPixels([left, tick])[1] + 4);
    }
    context.save();
    context.translate(13, (y0 + y1) / 2);
    context.rotate(-Math.PI / 2);
    context.textAlign = "center";
    context.fillText(second, 0, 0, y0 - y1);
    context.restore();
  }

  drawSamples(context) {
    const chosen = this.controls.class();
    context.lineWidth = 1.3;
    for (const [y, rows] of (this.samples ?? []).entries()) {
      if (chosen !== "best" && Number(chosen) !== y) continue;
      context.strokeStyle = colour(this.world, y);
      context.beginPath();
      for (const row of rows) {
        const [x, z] = this.toPixels(row);
        context.moveTo(x - 2.5, z - 2.5);
        context.lineTo(x + 2.5, z + 2.5);
        context.moveTo(x - 2.5, z + 2.5);
        context.lineTo(x + 2.5, z - 2.5);
      }
      context.stroke();
    }
  }

  drawContours(context, ink) {
    context.strokeStyle = ink;
    context.lineWidth = 1;
    context.globalAlpha = 0.8;
    for (const contour of this.contours ?? []) {
      context.beginPath();
      for (const point of contour) context.lineTo(...this.toPixels(point));
      context.stroke();
    }
    context.globalAlpha = 1;
  }

  // A label that was added or moved has a ring around it.
  drawLabel(context, label, number, ink) {
    const [x, y] = this.toPixels(this.dragged?.number === number ? this.dragged.place : label.point);
    context.fillStyle = colour(this.world, label.class);
    context.strokeStyle = ink;
    context.lineWidth = 1.8;
    mark(context, x, y, 7, this.world, label.class);
    context.stroke();
    if (!label.changed) return;
    context.lineWidth = 1.2;
    context.beginPath();
    context.arc(x, y, 13, 0, 2 * Math.PI);
    context.stroke();
  }

  listen() {
    const at = (event) => {
      const box = this.canvas.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    this.map.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || !this.state) return;
      event.preventDefault();
      this.map.focus({ preventScroll: true });
      this.map.setPointerCapture(event.pointerId);
      const pixels = at(event);
      const number = this.labelAt(pixels);
      this.pressed = { pixels, number };
    });
    this.map.addEventListener("pointermove", (event) => {
      if (!this.state) return;
      const pixels = at(event);
      this.map.classList.toggle("label-over", this.labelAt(pixels) !== null);
      if (!this.pressed || this.pressed.number === null) return;
      if (!this.dragged && distance(pixels, this.pressed.pixels) < 4) return;
      this.map.classList.add("dragging");
      this.dragged = { number: this.pressed.number, place: this.toPlace(pixels) };
      this.draw();
    });
    this.map.addEventListener("pointerup", (event) => {
      const { pressed, dragged } = this;
      this.release();
      if (dragged) this.change({ point: dragged.place, label: dragged.number });
      else if (pressed) this.click(this.toPlace(at(event)));
    });
    this.map.addEventListener("pointercancel", () => { this.release(); this.draw(); });
    this.map.addEventListener("keydown", (event) => {
      if (!this.place) return;
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
      if (step) {
        const length = event.shiftKey ? 10 * STEP : STEP;
        this.go(this.place.map((value, axis) => value + step[axis] * length * this.extent(axis)));
      } else if (event.key === "Enter" || event.key === " ") {
        if (!event.repeat) this.click(this.place);
      } else {
        return;
      }
      event.preventDefault();
    });
  }

  release() {
    this.pressed = this.dragged = null;
    this.map.classList.remove("dragging");
  }

  // The number of the label that can be grabbed at a place of the page; null if there is none.
  labelAt(pixels) {
    const [number, away] = this.nearestLabel(pixels);
    return away <= GRAB ? number : null;
  }

  nearestLabel(pixels) {
    let [nearest, least] = [null, Infinity];
    for (const [number, label] of this.state.labelled.entries()) {
      const away = distance(this.toPixels(label.point), pixels);
      if (away < least) [nearest, least] = [number, away];
    }
    return [nearest, least];
  }

  click(place) {
    const kind = this.controls.click();
    if (kind === "look") {
      this.go(place);
    } else if (kind === "move") {
      const [label] = this.nearestLabel(this.toPixels(place));
      if (label === null) this.say("There is no label to move.");
      else this.change({ point: place, label });
    } else {
      this.change({ point: place, class: Number(kind) });
    }
  }

  go(place) {
    this.place = this.inside(place);
    this.placeSpot();
    this.ask(this.place);
  }

  placeSpot() {
    const [x, y] = this.toPixels(this.place);
    const spot = this.find(".spot");
    spot.style.left = `${x}px`;
    spot.style.top = `${y}px`;
    spot.hidden = false;
  }

  async askAbout(place) {
    try {
      const answer = await ask(`${this.url}/row`, posted({ values: place }));
      this.answer.show(answer);
      const [first, second] = this.world.columns.map((column, axis) => `${column.name} = ${short(place[axis])}`);
      this.answer.find(".second").textContent = `at ${first}, ${second}; ${this.answer.find(".second").textContent}`;
      this.element.dataset.place = place.join(",");
    } catch (error) {
      this.say(error.message);
    }
  }

  chooseClass() {
    this.answer.showPosterior();
    this.draw();
  }

  // Asks for what is shown and not known yet: both change with the model.
  async updateLayers() {
    const { version } = this;
    this.draw();
    try {
      if (this.controls.samples.checked && !this.samples) {
        const classes = this.world.class_names.map((_, y) => ask(`${this.url}/rows?class=${y}&number=${SAMPLES}&seed=0`));
        const samples = (await Promise.all(classes)).map((each) => each.rows);
        if (version === this.version) this.samples = samples;
      }
      if (this.controls.contours.checked && !this.contours && this.run.has_density) {
        const { contours } = await ask(`${this.url}/contours`);
        if (version === this.version) this.contours = contours;
      }
    } catch (error) {
      this.say(error.message);
    }
    this.draw();
  }

  async change(change) {
    const version = ++this.version;
    this.busy(true);
    try {
      const state = await ask(`${this.url}/labels`, posted(change));
      if (version === this.version) this.forget(state);
      this.go(change.point);
      await this.train(version);
    } catch (error) {
      this.say(error.message);
      this.draw();
    } finally {
      if (version === this.version) this.busy(false);
    }
  }

  // Shows the regions after each few steps, until no step is left or another label has changed.
  async train(version) {
    let objective = null;
    while (version === this.version && this.state.num_left) {
      const { num_steps: total } = this.world;
      this.say(`Training a copy of the model: ${total - this.state.num_left} of ${total} steps.`);
      const state = await ask(`${this.url}/steps`, posted({}));
      if (version !== this.version) return;
      objective = state.objective ?? objective;
      this.take(state);
      this.ask(this.place);
    }
    if (version !== this.version) return;
    const changed = Number(this.element.dataset.changed);
    this.say(
      `${changed} label${changed === 1 ? "" : "s"} changed. A copy of the model was trained for ${this.world.num_steps} ` +
      "steps of the run's objective after each change" +
      `${objective === null ? "" : ` (J/N at the end: ${objective.toFixed(2)} nats)`}. The run folder is as it was.`,
    );
    this.contours = this.samples = null; // those of a step before, if somebody asked meanwhile
    this.showLayers();
  }

  async undo() {
    const version = ++this.version;
    this.busy(true);
    try {
      this.forget(await ask(`${this.url}/undo`, posted({})));
      this.say("This is the trained run.");
      this.ask(this.place);
      this.showLayers();
    } catch (error) {
      this.say(error.message);
    } finally {
      if (version === this.version) this.busy(false);
    }
  }

  // Contours and samples are those of another model now.
  forget(state) {
    this.contours = this.samples = null;
    this.take(state);
  }

  busy(is) {
    this.element.ariaBusy = String(is);
  }

  say(sentence) {
    this.find(".state").textContent = sentence;
  }
}

function distance([a, b], [c, d]) {
  return Math.hypot(a - c, b - d);
}

function short(value) {
  return Number(value.toPrecision(3)).toString();
}
