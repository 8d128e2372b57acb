// The view "Draw": classifies a drawing or an image file by each run, while the user draws.

import { ask, latest } from "./server.js";
import { classBars, panel, strip } from "./elements.js";

const PEN = 1 / 15; // of the canvas's side
const paper = document.getElementById("paper");
const context = paper.getContext("2d");
const complaint = document.getElementById("complaint");
const invert = document.getElementById("invert");

let strokes = [];
let stroke = null; // the one that is being drawn
let upload = null; // the file that was dropped or chosen instead
let changes = 0;
let panels = [];
let mostBytes = Infinity;

export function start(world) {
  const [channels, height, width] = world.image_shape;
  mostBytes = world.most_bytes;
  document.getElementById("draw-note").textContent =
    `A drawing is scaled, centred and smoothed like the training images (${height}×${width} pixels` +
    `${channels === 3 ? ", in colour; drawings are grey" : ""}). An image (PNG or JPEG, up to ` +
    `${world.most_bytes / 1e6} MB) is only resized, as by ssvae classify.`;
  panels = world.runs.map((run, number) => new AnswerPanel(world, run, number));
  document.querySelector("#draw .panels").append(...panels.map((each) => each.element));
  paper.parentElement.classList.toggle("white", world.runs[0].on_white);
  context.strokeStyle = context.fillStyle = world.runs[0].on_white ? "#000" : "#fff";
  listen();
}

class AnswerPanel {
  constructor(world, run, number) {
    this.world = world;
    this.run = run;
    this.number = number;
    this.element = panel(run, "answer");
    this.element.classList.add("waiting");
    this.find(".observed").hidden = !run.binarise;
    this.rows = world.class_names.map((name) => classBars(name));
    this.find("tbody").append(...this.rows.map((each) => each.element));
    this.showAnalogies = strip(this.find(".analogies"), world.class_names);
    this.refresh = latest(this.element, (change) => this.update(change));
  }

  find(selector) {
    return this.element.querySelector(selector);
  }

  async update(change) {
    if (!strokes.length && !upload) {
      this.clear();
      return;
    }
    const began = performance.now();
    const of = `/api/runs/${this.number}`;
    try {
      const answer = upload
        ? await ask(`${of}/image?invert=${invert.checked}`, body("application/octet-stream", upload))
        : await ask(`${of}/drawing`, body("application/json", JSON.stringify({ strokes })));
      if (!strokes.length && !upload) return; // cleared meanwhile: the next update shows that
      this.show(answer, performance.now() - began);
      this.element.dataset.change = change;
    } catch (error) {
      if (change === changes) refuse(error.message);
    }
  }

  clear() {
    this.element.classList.add("waiting");
    this.element.dataset.change = "";
    this.find(".answer").textContent = "Nothing drawn yet";
    this.find(".second").textContent = "\u00a0";
    for (const each of this.rows) each.clear();
  }

  show(answer, milliseconds) {
    const { posterior } = answer;
    const best = answer.probabilities.indexOf(Math.max(...answer.probabilities));
    this.element.classList.remove("waiting");
    this.element.dataset.milliseconds = milliseconds;
    this.find(".answer").textContent = answer.words;
    this.find(".second").textContent =
      `entropy ${answer.entropy.toFixed(2)} of at most ${Math.log(this.rows.length).toFixed(2)} nats` +
      (posterior ? `; p(y|x): ${posterior.words}` : "") +
      (posterior && this.run.binarise ? `; q(y|x) of the binarised image: ${posterior.classifier_words}` : "");
    for (const [y, each] of this.rows.entries()) {
      const interval = posterior && [posterior.probabilities[y], posterior.low[y], posterior.high[y]];
      each.show(answer.probabilities[y], interval, y === best);
    }
    const name = this.world.class_names[best];
    set(this.find(".image"), answer.image, "the input of the classifier");
    set(this.find(".observed img"), answer.observed, "the binarised image, x of p(x|y, z)");
    set(this.find(".reconstruction"), answer.reconstruction, `its reconstruction as class ${name}`);
    this.showAnalogies(answer.analogies, best, (each) => `the same style as class ${each}`);
    this.find(".evidence").textContent = !posterior
      ? `${this.run.model} does not define p(y|x): only q(y|x) of the classifier is available.`
      : `log p(x) = ${posterior.log_evidence.toFixed(1)} ± ${posterior.log_evidence_error.toFixed(1)} nats ` +
      `(effective sample size ${posterior.effective_samples.toFixed(1)}` +
      `${posterior.reliable === false ? "; k\u0302 is above 0.7: unreliable, usually too low" : ""}). ` +
      `p(x) and p(y|x) are estimated with ${this.run.num_samples} importance samples for each class` +
      `${this.run.binarise ? ", for x binarised at 0.5" : ""}. ` +
      "Intervals are two standard errors of the log-odds to each side. They show the uncertainty due to sampling.";
  }
}

function body(type, content) {
  return { method: "POST", headers: { "Content-Type": type }, body: content };
}

function set(image, source, name) {
  image.src = source;
  image.alt = name;
}

function refuse(sentence) {
  complaint.textContent = sentence;
  // A drawing is kept, since the next stroke may make it valid. A file is discarded.
  if (!upload) return;
  upload = null;
  changed(false);
}

function changed(forgive = true) {
  if (forgive) complaint.textContent = "";
  changes += 1;
  redraw();
  document.getElementById("paper-hint").hidden = strokes.length > 0 || upload !== null;
  document.getElementById("undo").disabled = !strokes.length;
  document.getElementById("clear").disabled = !strokes.length && !upload;
  for (const each of panels) each.refresh(changes);
}

function redraw() {
  const side = paper.width;
  context.clearRect(0, 0, side, side);
  if (upload) {
    drawUpload(upload);
    return;
  }
  context.lineWidth = side * PEN;
  context.lineCap = context.lineJoin = "round";
  for (const points of strokes) {
    context.beginPath();
    for (const [x, y] of points) context.lineTo(x * side, y * side);
    if (points.length === 1) context.lineTo(points[0][0] * side, points[0][1] * side + 0.01);
    context.stroke();
  }
}

// Shows the central square of the image, if the browser can decode it. Errors are reported by the server.
async function drawUpload(file) {
  const bitmap = await createImageBitmap(file).catch(() => null);
  if (!bitmap || file !== upload) return;
  const side = Math.min(bitmap.width, bitmap.height);
  context.imageSmoothingEnabled = side > paper.width;
  context.filter = invert.checked ? "invert(1)" : "none";
  context.drawImage(
    bitmap, (bitmap.width - side) / 2, (bitmap.height - side) / 2, side, side, 0, 0, paper.width, paper.height,
  );
  context.filter = "none";
}

function listen() {
  const at = (event) => {
    const box = paper.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height].map((share) =>
      Number(Math.min(1, Math.max(0, share)).toFixed(4)),
    );
  };
  paper.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    event.preventDefault();
    paper.setPointerCapture(event.pointerId);
    upload = null;
    stroke = [at(event)];
    strokes.push(stroke);
    changed();
  });
  paper.addEventListener("pointermove", (event) => {
    if (!stroke) return;
    // Fast movements give several points between two frames.
    const events = event.getCoalescedEvents?.() ?? [];
    stroke.push(...(events.length ? events : [event]).map(at));
    changed();
  });
  for (const end of ["pointerup", "pointercancel"]) paper.addEventListener(end, () => { stroke = null; });

  document.getElementById("undo").addEventListener("click", () => { strokes.pop(); changed(); });
  document.getElementById("clear").addEventListener("click", () => { strokes = []; upload = null; changed(); });
  document.getElementById("file").addEventListener("change", (event) => {
    take(event.target.files[0]);
    event.target.value = ""; // so that the same file can be chosen again
  });
  invert.addEventListener("change", () => { if (upload) changed(); });

  // Anywhere on the page, since the browser would otherwise open the file instead.
  addEventListener("dragover", (event) => { event.preventDefault(); paper.parentElement.classList.add("over"); });
  addEventListener("dragleave", () => paper.parentElement.classList.remove("over"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    paper.parentElement.classList.remove("over");
    if (event.dataTransfer.files.length) location.hash = "/draw";
    take(event.dataTransfer.files[0]);
  });
}

function take(file) {
  if (!file) return;
  strokes = [];
  upload = file;
  if (file.size > mostBytes) {
    // The same message as the server's, without the upload.
    refuse(`file: expected at most ${mostBytes / 1e6} MB; got ${(file.size / 1e6).toFixed(1)} MB.`);
    return;
  }
  changed();
}
