// The view "Draw": classifies a drawing or an image file by each run, while the user draws, and completes it where the
// user wipes pixels away.

import { ask, latest } from "./server.js";
import { classBars, panel, picture, say, strip } from "./elements.js";
import { Wipe } from "./wipe.js";

const PEN = 1 / 15; // of the canvas's side
const INTERVALS =
  "Intervals are two standard errors of the log-odds to each side. They show the uncertainty due to sampling.";
const paper = document.getElementById("paper");
const context = paper.getContext("2d");
const complaint = document.getElementById("complaint");
const invert = document.getElementById("invert");
const tools = { draw: document.getElementById("draw-tool"), wipe: document.getElementById("wipe-tool") };
const halves = document.getElementById("halves");

let strokes = [];
let stroke = null; // the one that is being drawn
let upload = null; // the file that was dropped or chosen instead
let changes = 0;
let panels = [];
let mostBytes = Infinity;
let wipe = null; // the missing pixels
let wiping = false; // whether the mouse wipes; only then are there missing pixels
let wipedFrom = null; // the point from which it wipes
let original = null; // the image that is wiped, as the model sees it
let examples = 0;

export function start(world) {
  const [channels, height, width] = world.image_shape;
  mostBytes = world.most_bytes;
  document.getElementById("draw-note").textContent =
    `A drawing is scaled, centred and smoothed like the training images (${height}×${width} pixels` +
    `${channels === 3 ? ", in colour; drawings are grey" : ""}). An image (PNG or JPEG, up to ` +
    `${world.most_bytes / 1e6} MB) is only resized, as by ssvae classify.`;
  document.getElementById("example").hidden = channels === 2; // a file has no stereo pair
  wipe = new Wipe(world.image_shape, paper);
  const able = world.runs.some((run) => !run.obstacle);
  document.getElementById("tools").hidden = !able;
  document.getElementById("wipe-note").textContent = able
    ? "Wipe takes pixels away: they are missing, neither dark nor bright, and each run draws what they could have been."
    : [...new Set(world.runs.map(cannot))].join(" ");
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
    const missing = wiping && wipe.some ? `missing=${wipe.digits}` : null;
    if (missing && this.run.obstacle) {
      this.clear();
      this.find(".answer").textContent = "No completions";
      this.find(".second").textContent = cannot(this.run);
      return;
    }
    try {
      const answer = upload
        ? await ask(`${of}/image?invert=${invert.checked}${missing ? `&${missing}` : ""}`, body("application/octet-stream", upload))
        : await ask(`${of}/drawing${missing ? `?${missing}` : ""}`, body("application/json", JSON.stringify({ strokes })));
      if (!strokes.length && !upload) return; // cleared meanwhile: the next update shows that
      this.show(answer, performance.now() - began);
      this.element.dataset.change = change;
    } catch (error) {
      if (change === changes) refuse(error.message);
    }
  }

  clear() {
    this.element.classList.add("waiting");
    this.element.classList.remove("wiped");
    this.element.dataset.change = "";
    this.find(".answer").textContent = "Nothing drawn yet";
    this.find(".second").textContent = "\u00a0";
    for (const each of this.rows) each.clear();
  }

  show(answer, milliseconds) {
    const { posterior } = answer;
    const wiped = answer.completions !== undefined;
    // Of an incomplete image the generative model has the word.
    const shares = wiped && posterior ? posterior.probabilities : answer.probabilities;
    const best = shares.indexOf(Math.max(...shares));
    this.element.classList.remove("waiting");
    this.element.classList.toggle("wiped", wiped);
    this.element.dataset.milliseconds = milliseconds;
    this.find(".answer").textContent = wiped && posterior ? posterior.words : answer.words;
    for (const [y, each] of this.rows.entries()) {
      const interval = posterior && [posterior.probabilities[y], posterior.low[y], posterior.high[y]];
      each.show(answer.probabilities[y], interval, y === best);
    }
    set(this.find(".image"), answer.image, "the input of the classifier");
    set(this.find(".observed img"), answer.observed, "the binarised image, x of p(x|y, z)");
    if (this === panels.find((each) => !each.run.obstacle)) remember(answer.original ?? answer.image);
    if (wiped) this.showCompletions(answer);
    else this.showWhole(answer, best);
  }

  showWhole(answer, best) {
    const { posterior } = answer;
    this.find(".second").textContent =
      `entropy ${answer.entropy.toFixed(2)} of at most ${Math.log(this.rows.length).toFixed(2)} nats` +
      (posterior ? `; p(y|x): ${posterior.words}` : "") +
      (posterior && this.run.binarise ? `; q(y|x) of the binarised image: ${posterior.classifier_words}` : "");
    const name = this.world.class_names[best];
    set(this.find(".reconstruction"), answer.reconstruction, `its reconstruction as class ${name}`);
    this.showAnalogies(answer.analogies, best, (each) => `the same style as class ${each}`);
    this.find(".evidence").textContent = !posterior
      ? `${this.run.model} does not define p(y|x): only q(y|x) of the classifier is available.`
      : `log p(x) = ${nats(posterior)} (effective sample size ${posterior.effective_samples.toFixed(1)}` +
      `${unreliable(posterior)}). ` +
      `p(x) and p(y|x) are estimated with ${this.run.num_samples} importance samples for each class` +
      `${this.run.binarise ? ", for x binarised at 0.5" : ""}. ` + INTERVALS;
  }

  showCompletions(answer) {
    const { posterior, classes, completions } = answer;
    const size = answer.effective_samples;
    say(this.find(".second"), posterior
      ? `p(y|x_seen), by importance sampling; q(y|x_seen) of the classifier: ${answer.words}`
      : "q(y|x_seen), the classifier");
    set(this.find(".mean"), answer.mean, "the mean of all completions");
    say(this.find(".drawn"), `${completions.length} completions drawn from p(x_missing|x_seen)` +
      `${classes ? ", each with its class" : ""}`);
    this.find(".completions").replaceChildren(...completions.map((source, number) => {
      const name = classes ? this.world.class_names[classes[number]] : "";
      return picture(source, classes ? `a completion of class ${name}` : "a completion", name);
    }));
    say(this.find(".size"), `Effective sample size ${size.toFixed(1)} of ${this.run.num_samples}.` +
      (size < completions.length
        ? " This is low: few samples carry the weight, so that completions repeat and probabilities are rough."
        : ""));
    say(this.find(".evidence"), (posterior
      ? `log p(x_seen) = ${nats(posterior)}${unreliable(posterior)}. ` +
      `p(x_seen) and p(y|x_seen) are estimated with ${this.run.num_samples} importance samples for each class` +
      `${this.run.binarise ? ", for pixels binarised at 0.5" : ""}. ${INTERVALS} `
      : `${this.run.model} does not define p(y|x): only q(y|x) of the classifier is available. `) +
      `A completion has the pixels that were seen, and the mean of ${classes ? "p(x|y, z)" : "p(x|z)"} in place of the ` +
      "others.");
    say(this.find(".caution"), this.run.caution ?? "");
  }
}

function cannot(run) {
  return `${run.model} cannot complete images: ${run.obstacle}.`;
}

function nats(posterior) {
  const log_p = posterior.log_evidence.toFixed(1).replace(/^-0.0$/, "0.0");
  return `${log_p} ± ${posterior.log_evidence_error.toFixed(1)} nats`;
}

function unreliable(posterior) {
  return posterior.reliable === false ? "; k\u0302 is above 0.7: unreliable, usually too low" : "";
}

// Keeps the image that is wiped, and shows it on the paper.
async function remember(source) {
  const image = new Image();
  image.src = source;
  await image.decode();
  original = image;
  if (wiping) redraw();
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
  const empty = !strokes.length && !upload;
  if (empty) choose("draw");
  redraw();
  document.getElementById("paper-hint").hidden = !empty;
  document.getElementById("undo").disabled = wiping ? !wipe.history.length : !strokes.length;
  document.getElementById("clear").disabled = empty;
  tools.wipe.disabled = empty;
  for (const each of panels) each.refresh(changes);
}

// Drawing brings missing pixels back: a drawing is scaled and centred anew with each stroke, and they would move in it.
function choose(tool) {
  wiping = tool === "wipe";
  tools[tool].checked = true;
  halves.hidden = !wiping;
  paper.classList.toggle("wiping", wiping);
  wipe.clear();
}

function redraw() {
  const side = paper.width;
  context.clearRect(0, 0, side, side);
  if (wiping) {
    if (original) wipe.draw(original);
    return;
  }
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
  if (!bitmap || file !== upload || wiping) return;
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
    if (wiping) {
      wipe.keep();
      wipeTo(at(event));
      return;
    }
    upload = null;
    stroke = [at(event)];
    strokes.push(stroke);
    changed();
  });
  paper.addEventListener("pointermove", (event) => {
    if (!stroke && !wipedFrom) return;
    // Fast movements give several points between two frames.
    const events = event.getCoalescedEvents?.() ?? [];
    const points = (events.length ? events : [event]).map(at);
    if (wipedFrom) {
      wipeTo(...points);
      return;
    }
    stroke.push(...points);
    changed();
  });
  for (const end of ["pointerup", "pointercancel"]) paper.addEventListener(end, () => { stroke = wipedFrom = null; });
  for (const [name, each] of Object.entries(tools)) each.addEventListener("change", () => { choose(name); changed(); });
  halves.addEventListener("click", (event) => {
    if (!event.target.value) return;
    wipe.half(event.target.value);
    changed();
  });

  document.getElementById("undo").addEventListener("click", () => {
    if (wiping) wipe.undo();
    else strokes.pop();
    changed();
  });
  document.getElementById("clear").addEventListener("click", () => {
    strokes = [];
    upload = original = null;
    changed();
  });
  document.getElementById("example").addEventListener("click", takeExample);
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

function wipeTo(...points) {
  for (const point of points) {
    wipe.line(wipedFrom ?? point, point);
    wipedFrom = point;
  }
  changed();
}

// Takes the next image of the first run's data, as a file.
async function takeExample() {
  try {
    const { image } = await ask(`/api/runs/0/example?number=${examples}`);
    examples += 1;
    const bytes = Uint8Array.from(atob(image.split(",")[1]), (character) => character.charCodeAt(0));
    invert.checked = false;
    take(new Blob([bytes], { type: "image/png" }));
  } catch (error) {
    complaint.textContent = error.message;
  }
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
